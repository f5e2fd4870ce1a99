"""The learning rate follows its schedule; weight decay holds for matrices alone."""

import itertools

import pytest
import torch

from gpt.optimizer import AdamW, learning_rate
from tests.conftest import build_small, training_config


def test_the_documented_schedule_is_constant() -> None:
    config = training_config()
    assert {learning_rate(i, config) for i in range(config.max_iters)} == {1e-3}


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_schedules_rise_then_fall_to_the_minimum(schedule: str) -> None:
    config = training_config(schedule=schedule, warmup_iters=10, max_iters=110, min_learning_rate=1e-4)
    rates = [learning_rate(i, config) for i in range(111)]
    assert rates[:10] == pytest.approx([1e-4 * (i + 1) for i in range(10)])
    assert rates[10] == pytest.approx(1e-3)
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert rates[60] == pytest.approx((1e-3 + 1e-4) / 2)  # both are half-way down at half time
    assert rates[110] == pytest.approx(1e-4)


def test_the_cosine_is_slow_at_first_and_the_line_is_not() -> None:
    common = {"max_iters": 100, "min_learning_rate": 0.0}
    cosine, linear = (training_config(schedule=schedule, **common) for schedule in ("cosine", "linear"))
    assert learning_rate(25, linear) == pytest.approx(0.75e-3)
    assert learning_rate(25, cosine) == pytest.approx(1e-3 * (2 + 2**0.5) / 4)


def test_only_matrices_decay() -> None:
    model = build_small("v6")
    decay = {name: rate for names, rate in AdamW(model, training_config(weight_decay=0.1)).groups for name in names}
    assert decay.keys() == dict(model.named_parameters()).keys()
    for name, rate in decay.items():
        is_matrix = name.endswith("weight") and "norm" not in name
        assert rate == (0.1 if is_matrix else 0.0), name


def test_steps_are_those_of_pytorch_bit_for_bit() -> None:
    config = training_config(weight_decay=0.1, beta1=0.8, beta2=0.95)
    ours, theirs = build_small("v6"), build_small("v6")
    matrices = [p for p in theirs.parameters() if p.dim() >= 2]
    others = [p for p in theirs.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    expected = torch.optim.AdamW(groups, betas=(0.8, 0.95), fused=True)
    optimizer = AdamW(ours, config)
    for iteration in range(20):
        rate = 1e-3 / (1 + iteration)
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        optimizer.step(rate)
        for group in expected.param_groups:
            group["lr"] = rate
        expected.step()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(p, q)
