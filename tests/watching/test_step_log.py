"""What a run records of its updates: loss, gradient norm, learning rate, and the clock beside them."""

import itertools
import math

import pytest
import torch
from torch import nn

from gpt.data.text import TextData
from gpt.training.progress import Progress
from gpt.training.state import TrainingState
from gpt.training.watchers import Watcher
from gpt.watching import recorders
from gpt.watching.recorders import StepLog
from tests.training.helpers import small_state, train_state


class Losses(Watcher):
    """The loss after every update."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def stepped(self, state: TrainingState) -> None:
        self.losses.append(state.last_batch.item())


def test_every_fourth_update_is_recorded_without_changing_weights(data: TextData) -> None:
    state, all_of_them = small_state("v5"), Losses()
    train_state(state, data, watchers=[StepLog(4), all_of_them], log_interval=4)
    steps, clock = state.progress.steps, state.progress.clock
    assert [step.iteration for step in steps] == [4, 8, 12, 16, 20]
    assert [row.iteration for row in clock] == [0, 4, 8, 10, 12, 16, 20]  # of evaluations too
    assert [row.seconds for row in clock] == sorted(row.seconds for row in clock)
    assert [step.loss for step in steps] == [all_of_them.losses[step.iteration - 1] for step in steps]
    assert [step.tokens for step in steps] == [step.iteration * state.progress.tokens // 20 for step in steps]
    assert all(step.gradient_norm is not None and step.gradient_norm > 0 for step in steps)
    assert all(step.learning_rates.keys() == state.optimizer.peaks.keys() for step in steps)
    silent = small_state("v5")
    train_state(silent, data)
    assert all(tensor.equal(state.model.state_dict()[name]) for name, tensor in silent.model.state_dict().items())


@pytest.mark.parametrize("grad_clip", [None, 0.1])
def test_the_norm_is_that_of_the_whole_gradient_before_clipping(data: TextData, grad_clip: float | None) -> None:
    state = small_state("v5")
    batch = data.training_batch(1, 0, 8)
    logits = state.model(*batch.inputs)
    nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten()).backward()
    expected = math.sqrt(sum(p.grad.square().sum().item() for p in state.model.parameters() if p.grad is not None))
    state.model.zero_grad()
    logged = {"watchers": [StepLog(1)], "log_interval": 1}
    train_state(state, data, **logged, max_iters=1, seed=1, batch_size=8, grad_clip=grad_clip)
    assert state.progress.steps[0].gradient_norm == pytest.approx(expected, rel=1e-4)


def test_a_long_run_keeps_every_second_record(data: TextData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorders, "_MOST_STEPS", 8)
    state = small_state("v1")
    train_state(state, data, watchers=[StepLog(1)], log_interval=1, max_iters=40, eval_interval=20)
    iterations = [step.iteration for step in state.progress.steps]
    assert len(iterations) < 8
    assert {b - a for a, b in itertools.pairwise(iterations)} == {state.progress.step_stride}
    assert {row.iteration for row in state.progress.clock} == {0, 20, 40, *iterations}


def test_an_update_that_is_not_finite_has_no_loss(data: TextData) -> None:
    state = small_state("v5")
    with torch.no_grad():
        next(state.model.parameters()).fill_(math.nan)
    train_state(state, data, watchers=[StepLog(1)], log_interval=1, max_iters=1)
    (step,) = state.progress.steps
    assert (step.loss, step.gradient_norm) == (None, None)
    Progress.model_validate_json(state.progress.model_copy(update={"evaluations": []}).model_dump_json())
