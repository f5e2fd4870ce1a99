"""A recorded step is the step itself: the same loss, gradient and random numbers, bit for bit, or it is not used."""

import functools
import math
import random
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gpt.base.ladder import LADDER, OTHERS
from gpt.base.runtime import Runtime
from gpt.data.batch import Batch
from gpt.data.text import ShortWindows, TextData
from gpt.models import has_package_code_only, v5_residual
from gpt.training import gradients
from gpt.training.gradient_tape import Program, RecordedGradient
from gpt.training.gradients import gradient_of
from gpt.training.objectives import Autograd, Gradient, Objective
from tests.conftest import CPU
from tests.training.helpers import VOCAB_SIZE, configured, small_trainer, train_up

T = 8


def batch(seed: int, rows: int = 5) -> Batch:
    torch.manual_seed(seed)
    return Batch.full(*torch.randint(VOCAB_SIZE, (2, rows, T)))


def step(gradient: Gradient, model: nn.Module, whole: Batch, parts: int = 1) -> list[Tensor | None]:
    """The loss, the gradient of each parameter, and the trainer of the random numbers afterwards."""
    torch.manual_seed(7)
    model.zero_grad()
    total = torch.zeros(())
    for part in whole.split(parts):
        total += gradient(model, part, part.tokens / whole.tokens)
    return [total, *(None if p.grad is None else p.grad.clone() for p in model.parameters()), torch.get_rng_state()]


def assert_same(found: list[Tensor | None], expected: list[Tensor | None]) -> None:
    for x, y in zip(found, expected, strict=True):
        assert (x is None) == (y is None)
        assert x is None or y is None or (torch.equal(x, y) and x.stride() == y.stride())


def assert_repeats(model: nn.Module, between: Callable[[], None] = lambda: None) -> None:
    """Three batches of one shape, twice: recorded steps, or those that replace them, are the plain ones."""
    plain = Autograd(Objective(), CPU)
    recorded = RecordedGradient(model, plain)
    for seed in range(3):
        assert_same(step(recorded, model, batch(seed)), step(plain, model, batch(seed)))
    between()
    for seed in range(3):
        assert_same(step(recorded, model, batch(seed)), step(plain, model, batch(seed)))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Program]:
    """The programs that were run, each time they were."""
    done: list[Program] = []
    run = Program.run
    monkeypatch.setattr(Program, "run", lambda program: (done.append(program), run(program))[1])
    return done


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "objective", "dtype"),
    [
        *((stage, Objective(), torch.float32) for stage in [*LADDER, *OTHERS]),
        ("v1", Objective(label_smoothing=0.1), torch.bfloat16),
        *((stage, Objective(0.1, multi_token=0.5), torch.bfloat16) for stage in ("v5", "v9", "hybrid")),
    ],
)
def test_a_recorded_step_is_the_plain_one(
    stage: str, objective: Objective, dtype: torch.dtype, runs: list[Program]
) -> None:
    model = small_trainer(stage).model.train()
    objective.prepare(model)
    plain = Autograd(objective, Runtime(torch.device("cpu"), dtype))
    recorded = RecordedGradient(model, plain)
    for seed in range(3):
        assert_same(step(recorded, model, batch(seed)), step(plain, model, batch(seed)))
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.1)  # as an optimizer does, in place
    for parts in (1, 3, 3, 3):
        assert_same(step(recorded, model, batch(3), parts), step(plain, model, batch(3), parts))
    # Nothing is repeated in the first two batches of a shape; the second is recorded, the third confirms it.
    assert len(runs) == (4 - 2) + (6 - 2) + (3 - 2)  # of five rows, two and one


def test_a_training_is_the_same_with_recorded_steps(
    data: TextData, monkeypatch: pytest.MonkeyPatch, runs: list[Program]
) -> None:
    """With short windows at first, accumulation, clipping and dropout."""
    ends = []
    for first in (1, math.inf):
        monkeypatch.setattr(gradients, "_RECORDED_FROM", first)
        trainer = small_trainer("v7")
        train_up(trainer, ShortWindows(data, 4, 9), grad_accumulation=3, grad_clip=0.5, loss=Objective())
        ends.append([trainer.state.evaluations[-1].val, *map(Tensor.tolist, trainer.model.parameters())])
    assert ends[0] == ends[1]
    assert len(runs) > 50


def test_only_plain_long_trainings_on_a_cpu_are_recorded(data: TextData) -> None:
    def is_recorded(**changes: object) -> bool:
        settings = {"max_iters": 100, "loss": Objective()} | changes
        return isinstance(gradient_of(configured(small_trainer("v5"), data, **settings)), RecordedGradient)

    assert is_recorded()
    assert not is_recorded(max_iters=20)
    assert not is_recorded(recompute=True)
    assert not is_recorded(loss=lambda *_: torch.zeros(()))
    assert not is_recorded(runtime=Runtime(torch.device("meta")))


class Strange(nn.Module):
    """A stage after something that no recording repeats."""

    def __init__(self, strange: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.stage, self.strange, self.block_size = small_trainer("v5").model, strange, T

    def forward(self, idx: Tensor) -> Tensor:
        logits: Tensor = self.stage(self.strange(idx))
        return logits


class OwnForward(v5_residual.GPT):
    """A stage that trains on half of the tokens in every second pass."""

    def __init__(self) -> None:
        super().__init__(VOCAB_SIZE, block_size=T, n_embd=16, n_head=2, n_layer=1)
        self.passes = 0

    def forward(self, idx: Tensor) -> Tensor:
        self.passes += 1
        return super().forward(idx) if self.passes % 2 else super().forward(idx.where(idx > 3, 0))


def _listened(listen: Callable[[nn.Module, Callable[..., Any]], object]) -> Callable[[], nn.Module]:
    """A stage to which a function with a trainer of its own listens."""

    def make() -> nn.Module:
        model, calls = small_trainer("v5").model, count(1)

        def scaled(*values: Any) -> Any:
            found = values[-1]
            found = found[0] if isinstance(found, tuple) else found
            return found * (1 + next(calls) / 10)

        listen(model, scaled)
        return model

    return make


def _head(model: nn.Module) -> Any:
    return model.get_submodule("lm_head")


def _after_accumulation(model: nn.Module, scaled: Callable[[Tensor], Tensor]) -> None:
    def listen(p: Tensor) -> None:
        assert p.grad is not None
        p.grad.copy_(scaled(p.grad))

    _head(model).weight.register_post_accumulate_grad_hook(listen)


def _patched(model: nn.Module, scaled: Callable[[Tensor], Tensor]) -> None:
    forward = model.forward
    model.forward = functools.wraps(forward)(lambda idx: scaled(forward(idx)))


def _patched_inside(model: nn.Module, scaled: Callable[[Tensor], Tensor]) -> None:
    head = _head(model)
    head.forward = lambda x: scaled(nn.functional.linear(x, head.weight, head.bias))


def _counting() -> Callable[[Tensor], Tensor]:
    calls = count()
    return lambda idx: idx.clone().fill_(next(calls) % VOCAB_SIZE)


def _late() -> Callable[[Tensor], Tensor]:
    """Something that the first six passes do not show."""
    calls = count()
    return lambda idx: idx if next(calls) < 6 else idx.where(idx > 3, 0)


STRANGE: dict[str, Callable[[], nn.Module]] = {
    "a list": lambda: Strange(lambda idx: torch.tensor([[min(row)] * T for row in idx.tolist()])),
    "an array": lambda: Strange(lambda idx: torch.from_numpy(np.sort(idx.numpy(), axis=1))),
    "a value": lambda: Strange(lambda idx: idx.where(idx > idx.float().mean().item(), 0)),
    "a shape that depends on values": lambda: Strange(lambda idx: idx[idx >= 0].view_as(idx)),
    "calls": lambda: Strange(_counting()),
    "a change later": lambda: Strange(_late()),
    "Python's random numbers": lambda: Strange(lambda idx: idx.where(idx > random.randrange(9), 0)),
    "NumPy's random numbers": lambda: Strange(lambda idx: idx.where(idx > np.random.randint(9), 0)),
    "a tensor of a changing value": lambda: Strange(lambda idx: (idx + torch.tensor(random.randrange(3))) % VOCAB_SIZE),
    "a subclass of a stage": OwnForward,
    "a hook on a parameter": _listened(lambda model, scaled: _head(model).weight.register_hook(scaled)),
    "a hook after accumulation": _listened(_after_accumulation),
    "a forward hook": _listened(lambda model, scaled: _head(model).register_forward_hook(scaled)),
    "a hook before": _listened(lambda model, scaled: _head(model).register_forward_pre_hook(lambda _, x: scaled(x))),
    "a backward hook": _listened(
        lambda model, scaled: model.register_full_backward_hook(lambda *_: scaled(torch.ones(())) and None)
    ),
    "another forward": _listened(_patched),
    "another forward inside": _listened(_patched_inside),
}


@pytest.mark.parametrize("make", STRANGE.values(), ids=STRANGE)
def test_a_module_of_the_callers_is_trained_by_autograd(make: Callable[[], nn.Module], runs: list[Program]) -> None:
    """Its losses and weights are those of a plain loop."""

    def trained(*, is_recorded: bool) -> list[Tensor]:
        random.seed(5)
        np.random.seed(5)
        torch.manual_seed(5)
        model = make().train()
        plain = Autograd(Objective(), CPU)
        gradient = RecordedGradient(model, plain) if is_recorded else plain
        optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.3), []
        for seed in range(10):
            losses.append(gradient(model, batch(seed), 1.0))
            optimizer.step()
            optimizer.zero_grad()
        return [torch.stack(losses), *model.parameters(), torch.tensor(random.random()), torch.get_rng_state()]

    assert_same([*trained(is_recorded=True)], [*trained(is_recorded=False)])
    assert runs == []


def test_a_stage_is_not_recorded_while_its_class_is_changed(
    monkeypatch: pytest.MonkeyPatch, runs: list[Program]
) -> None:
    forward, calls = v5_residual.GPT.forward, count(1)
    model = small_trainer("v5").model.train()
    monkeypatch.setattr(nn.Module, "smart_apply", lambda self: None, raising=False)  # as transformers does
    assert has_package_code_only(model)
    monkeypatch.setattr(v5_residual.GPT, "forward", lambda self, idx: forward(self, idx) / (1 + next(calls) % 2))
    for seed in range(4):
        RecordedGradient(model, Autograd(Objective(), CPU))(model, batch(seed), 1.0)
    assert runs == []


def test_weights_in_new_memory_are_recorded_anew(runs: list[Program]) -> None:
    model = small_trainer("v1").model.train()

    def move() -> None:
        for p in model.parameters():
            p.data = p.data * 1.5

    assert_repeats(model, between=move)
    assert len({id(program) for program in runs}) == 2


def test_a_recording_that_is_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Program.run
    monkeypatch.setattr(Program, "run", lambda program: [x * (1 + 1e-7) for x in run(program)])
    assert_repeats(small_trainer("v5").model.train())
