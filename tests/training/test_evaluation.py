"""Estimates are means over random batches; the exact loss is what a hand computes."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gpt.base.ladder import LADDER
from gpt.data.characters import CharTokenizer
from gpt.data.text import TextData
from gpt.training.evaluation import estimated_losses, exact_loss, mean_loss, tokens_per_pass
from tests.conftest import CPU, build, build_small, text_data
from tests.training.helpers import VOCAB_SIZE, small_recipe


class Fixed(nn.Module):
    """The same probabilities after every token, whatever came before."""

    def __init__(self, probabilities: list[float]) -> None:
        super().__init__()
        self.logits = torch.tensor(probabilities).log()
        self.block_size = 4

    def forward(self, idx: Tensor) -> Tensor:
        return self.logits.expand(*idx.shape, -1)


def test_exact_loss_of_a_hand_computed_case() -> None:
    # val is "abbabbbab": of its 8 targets 2 are a and 6 are b; 8 = two windows of 3 and one of 2.
    data = text_data("ab" * 4 + "a" + "abbabbbab", block_size=3, train_fraction=0.5)
    loss = exact_loss(Fixed([0.25, 0.75]), data, "val", runtime=CPU)
    assert loss == pytest.approx(-(2 * math.log(0.25) + 6 * math.log(0.75)) / 8, abs=1e-6)


def test_exact_loss_of_a_model_that_looks_back(data: TextData, text: str) -> None:
    model = build_small("v5", vocab_size=VOCAB_SIZE)
    val = CharTokenizer(text).encode(text[int(0.9 * len(text)) :])
    losses = []
    for start in range(0, len(val) - 1, 8):
        window = val[start : start + 9]
        losses.append(cross_entropy(model(window[None, :-1])[0], window[1:], reduction="none"))
    assert exact_loss(model, data, "val", runtime=CPU) == pytest.approx(torch.cat(losses).mean().item(), abs=1e-6)


@pytest.mark.parametrize(("eval_iters", "batch_size"), [(1, 1), (3, 5), (200, 32)])
def test_estimate_is_the_mean_over_its_batches(data: TextData, eval_iters: int, batch_size: int) -> None:
    """Joining batches into larger passes, as the estimate does, changes nothing but rounding."""
    model = build_small("v3", vocab_size=VOCAB_SIZE)
    passes = list(data.estimation_batches("train", 3, 0, eval_iters, batch_size, 4096))
    assert sum(len(batch.targets) for batch in passes) == eval_iters * batch_size
    assert all(batch.tokens <= 4096 for batch in passes)
    estimate = mean_loss(model, passes, "", CPU).item()
    rows = [row for batch in passes for row in zip(batch.inputs[0], batch.targets, strict=True)]
    losses = [cross_entropy(model(x[None])[0], y) for x, y in rows]
    assert estimate == pytest.approx(torch.stack(losses).double().mean().item(), abs=1e-6)


def test_estimate_approaches_the_exact_loss(data: TextData) -> None:
    model = build_small("v6", vocab_size=VOCAB_SIZE)
    estimate = mean_loss(model, data.estimation_batches("val", 0, 0, 500, 32, 4096), "", CPU).item()
    assert estimate == pytest.approx(exact_loss(model, data, "val", runtime=CPU), abs=0.02)


def test_evaluation_turns_dropout_off_and_then_on_again(data: TextData) -> None:
    model = build_small("v7", vocab_size=VOCAB_SIZE, dropout=0.5, block_size=8).train()
    first, second = (exact_loss(model, data, "val", runtime=CPU) for _ in range(2))
    assert first == second
    assert model.training


def test_the_estimates_of_both_splits_depend_on_the_seed_and_the_iteration_alone(data: TextData) -> None:
    model = build_small("v5", vocab_size=VOCAB_SIZE)

    def estimate(seed: int, iteration: int) -> tuple[float, float]:
        return estimated_losses(model, small_recipe(data, seed=seed, eval_iters=2, batch_size=4), iteration)

    first = estimate(1, 10)
    torch.manual_seed(99)
    assert estimate(1, 10) == first
    assert len({first, estimate(2, 10), estimate(1, 20)}) == 3
    for split, loss in zip(("train", "val"), first, strict=True):
        batches = data.estimation_batches(split, 1, 10, 2, 4, 4096)
        assert loss == pytest.approx(mean_loss(model, batches, "", CPU).item(), abs=1e-9)


def test_a_pass_is_smaller_for_a_large_vocabulary_and_as_it_was_for_every_documented_stage() -> None:
    assert {tokens_per_pass(CPU, build(stage)) for stage in (*LADDER, "v8", "v9")} == {4096}
    assert tokens_per_pass(CPU, build("v1", vocab_size=4_000)) == 4096
    wide = build_small("v5", vocab_size=100_000, n_embd=4)
    assert tokens_per_pass(CPU, wide) * 100_000 * 4 <= 2**28
