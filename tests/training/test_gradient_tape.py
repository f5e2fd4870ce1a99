"""A recorded step is the step itself: the same loss, gradient and random numbers, bit for bit, or it is not used."""

import math
import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gpt.base.ladder import LADDER, OTHERS
from gpt.base.runtime import Runtime
from gpt.data.batch import Batch
from gpt.data.text import ShortWindows, TextData
from gpt.models import v5_residual
from gpt.training import recipe as recipes
from gpt.training.gradient_tape import Program, RecordedGradient
from gpt.training.objectives import Autograd, Gradient, Objective
from tests.conftest import CPU
from tests.training.helpers import VOCAB_SIZE, small_recipe, small_state, train_state

T = 8


def batch(seed: int, rows: int = 5) -> Batch:
    torch.manual_seed(seed)
    return Batch.full(*torch.randint(VOCAB_SIZE, (2, rows, T)))


def step(gradient: Gradient, model: nn.Module, whole: Batch, parts: int = 1) -> list[Tensor | None]:
    """The loss, the gradient of each parameter, and the state of the random numbers afterwards."""
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
    model = small_state(stage).model.train()
    objective.prepare(model)
    plain = Autograd(objective, Runtime(torch.device("cpu"), dtype))
    recorded = RecordedGradient(model, plain)
    for seed in range(2):
        assert_same(step(recorded, model, batch(seed)), step(plain, model, batch(seed)))
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.1)  # as an optimizer does, in place
    for parts in (1, 3, 3):
        assert_same(step(recorded, model, batch(3), parts), step(plain, model, batch(3), parts))
    # The first batch of a shape is never recorded, and one more run confirms a recording.
    assert len(runs) == (1 + 2) + (1 + 3) + (1 + 1)  # of five rows, two and one


def test_a_training_is_the_same_with_recorded_steps(
    data: TextData, monkeypatch: pytest.MonkeyPatch, runs: list[Program]
) -> None:
    """With short windows at first, accumulation, clipping and dropout."""
    ends = []
    for first in (1, math.inf):
        monkeypatch.setattr(recipes, "_RECORDED_FROM", first)
        state = small_state("v7")
        train_state(state, ShortWindows(data, 4, 9), grad_accumulation=3, grad_clip=0.5, loss=Objective())
        ends.append([state.progress.evaluations[-1].val.nats, *map(Tensor.tolist, state.model.parameters())])
    assert ends[0] == ends[1]
    assert len(runs) > 50


def test_only_small_texts_on_a_cpu_with_the_objective_itself_are_recorded(data: TextData) -> None:
    model = small_state("v5").model

    def is_recorded(**changes: object) -> bool:
        settings = {"max_iters": 100, "loss": Objective()} | changes
        return isinstance(small_recipe(data, **settings).gradient(model), RecordedGradient)

    assert is_recorded()
    assert not is_recorded(max_iters=20)
    assert not is_recorded(recompute=True)
    assert not is_recorded(loss=lambda *_: torch.zeros(()))
    assert not is_recorded(runtime=Runtime(torch.device("meta")))


class Strange(v5_residual.GPT):
    """v5 with something before it that cannot be repeated."""

    def __init__(self, strange: Callable[[Tensor], object]) -> None:
        super().__init__(VOCAB_SIZE, block_size=T, n_embd=16, n_head=2, n_layer=1)
        self.strange = strange

    def forward(self, idx: Tensor) -> Tensor:
        self.strange(idx)
        return super().forward(idx)


def _counting() -> Callable[[Tensor], object]:
    calls: list[int] = []

    def count(idx: Tensor) -> Tensor:
        calls.append(1)
        return idx * len(calls)

    return count


@pytest.mark.parametrize(
    "strange",
    [
        lambda idx: idx.sum().item(),
        lambda idx: idx[idx > 3],
        lambda _: random.random(),
        _counting(),
        lambda idx: idx + torch.zeros(3).to(idx.dtype).repeat(5)[:5, None],
    ],
    ids=["a value", "a shape that depends on values", "Python's random numbers", "what changes", "fine"],
)
def test_what_cannot_be_repeated_is_computed_by_autograd(
    strange: Callable[[Tensor], object], runs: list[Program], request: pytest.FixtureRequest
) -> None:
    torch.manual_seed(0)
    model = Strange(strange).train()
    plain = Autograd(Objective(), CPU)
    recorded, before = RecordedGradient(model, plain), random.getstate()
    recorded(model, batch(0), 1.0)
    after = random.getstate()
    random.setstate(before)
    plain(model, batch(0), 1.0)
    assert after == random.getstate()
    recorded(model, batch(0), 1.0)
    runs.clear()
    assert_same(step(recorded, model, batch(1)), step(plain, model, batch(1)))
    assert bool(runs) == ("fine" in request.node.name)


def test_a_module_that_is_listened_to_is_not_recorded(runs: list[Program]) -> None:
    model, heard = small_state("v5").model.train(), []
    model.get_submodule("lm_head").register_forward_hook(lambda *_: heard.append(1))
    assert_repeats(model)
    assert len(heard) == 2 * 6
    assert runs == []


def test_weights_in_new_memory_are_recorded_anew(runs: list[Program]) -> None:
    model = small_state("v1").model.train()

    def move() -> None:
        for p in model.parameters():
            p.data = p.data * 1.5

    assert_repeats(model, between=move)
    assert len({id(program) for program in runs}) == 2


def test_a_recording_that_is_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Program.run
    monkeypatch.setattr(Program, "run", lambda program: [x * (1 + 1e-7) for x in run(program)])
    assert_repeats(small_state("v5").model.train())


def test_buffers_that_a_step_changes_are_changed_once() -> None:
    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(VOCAB_SIZE, VOCAB_SIZE)
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, idx: Tensor) -> Tensor:
            self.seen += idx.numel()
            logits: Tensor = self.embedding(idx)
            return logits

    model = Counted()
    recorded = RecordedGradient(model, Autograd(Objective(), CPU))
    for seed in range(4):
        step(recorded, model, batch(seed))
    assert model.seen == 4 * 5 * T
