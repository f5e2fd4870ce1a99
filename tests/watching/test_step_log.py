"""What a run records of its updates: loss, gradient norm, learning rate, and the clock beside them."""

import itertools
import math
from pathlib import Path

import pytest
from torch import nn

from gpt.data.text import TextData
from gpt.runs.folder import RunFolder
from gpt.training.state import State
from gpt.training.trainer import Trainer
from gpt.training.watchers import Watcher
from gpt.watching import recorder
from tests.conftest import empty_run
from tests.training.helpers import exploding_loss, small_trainer, train_recorded, train_up


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return empty_run(tmp_path / "run")


class Losses(Watcher):
    """The loss after every update."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def stepped(self, trainer: Trainer) -> None:
        self.losses.append(trainer.last_batch.item())


def test_every_fourth_update_is_recorded_without_changing_weights(data: TextData, run: RunFolder) -> None:
    trainer, all_of_them = small_trainer("v5"), Losses()
    train_recorded(trainer, data, run, watchers=[all_of_them], log_interval=4)
    steps, clock = trainer.state.steps, trainer.state.clock
    assert [step.iteration for step in steps] == [4, 8, 12, 16, 20]
    assert [row.iteration for row in clock] == [0, 4, 8, 10, 12, 16, 20]  # of evaluations too
    assert [row.seconds for row in clock] == sorted(row.seconds for row in clock)
    assert [step.loss for step in steps] == [all_of_them.losses[step.iteration - 1] for step in steps]
    assert [step.tokens for step in steps] == [step.iteration * trainer.state.tokens // 20 for step in steps]
    assert all(step.gradient_norm is not None and step.gradient_norm > 0 for step in steps)
    assert all(step.learning_rates.keys() == trainer.optimizer.peaks.keys() for step in steps)
    silent = small_trainer("v5")
    train_up(silent, data)
    assert all(tensor.equal(trainer.model.state_dict()[name]) for name, tensor in silent.model.state_dict().items())


@pytest.mark.parametrize("grad_clip", [None, 0.1])
def test_the_norm_is_that_of_the_whole_gradient_before_clipping(
    data: TextData, run: RunFolder, grad_clip: float | None
) -> None:
    trainer = small_trainer("v5")
    batch = data.training_batch(1, 0, 8)
    logits = trainer.model(*batch.inputs)
    nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten()).backward()
    expected = math.sqrt(sum(p.grad.square().sum().item() for p in trainer.model.parameters() if p.grad is not None))
    trainer.model.zero_grad()
    train_recorded(trainer, data, run, log_interval=1, max_iters=1, batch_size=8, grad_clip=grad_clip)
    assert trainer.state.steps[0].gradient_norm == pytest.approx(expected, rel=1e-4)


def test_a_long_run_keeps_every_second_record(data: TextData, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "_MOST_STEPS", 8)
    trainer = small_trainer("v1")
    train_recorded(trainer, data, run, log_interval=1, max_iters=40, eval_interval=20)
    iterations = [step.iteration for step in trainer.state.steps]
    assert len(iterations) < 8
    assert {b - a for a, b in itertools.pairwise(iterations)} == {trainer.state.step_stride}
    assert {row.iteration for row in trainer.state.clock} == {0, 20, 40, *iterations}


def test_an_update_that_is_not_finite_has_no_loss(data: TextData, run: RunFolder) -> None:
    trainer, loss = small_trainer("v5"), exploding_loss(math.nan, 0)
    train_recorded(trainer, data, run, log_interval=1, max_iters=1, loss=loss, on_nonfinite="skip")
    (step,) = trainer.state.steps
    assert (step.loss, step.gradient_norm) == (None, None)
    State.model_validate_json(trainer.state.model_dump_json())
