"""The training trainer: what is saved is restored bit-exactly, and only into what it belongs to."""

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from gpt.base.errors import UserError
from gpt.data.text import TextData
from gpt.data.tokenizers.characters import CharTokenizer
from gpt.training.averaging import MovingAverage, WeightAverage
from gpt.training.state import State
from gpt.training.trainer import Trainer
from gpt.training.watchers import Watcher
from tests.conftest import empty_run, split_text
from tests.training.helpers import bits, losses, small_trainer, train_recorded, train_up, weights

WHOLE = 40  # iterations
SHORT: dict[str, Any] = {"batch_size": 45, "eval_iters": 1}
Train = Callable[..., Trainer]  # up to an iteration, with these further watchers


def saved(trainer: Trainer) -> tuple[State, dict[str, Tensor]]:
    """What a checkpoint of now would contain."""
    return trainer.state.model_copy(deep=True), {name: tensor.clone() for name, tensor in trainer.tensors().items()}


class Interrupted(Exception):  # noqa: N818 - it is no error
    pass


class InterruptAt(Watcher):
    """Ends a training after so many steps."""

    def __init__(self, iteration: int) -> None:
        self._iteration = iteration

    def between_steps(self, trainer: Trainer, is_last: bool) -> None:
        if trainer.state.iteration == self._iteration:
            raise Interrupted


def last_half(_: Trainer) -> Watcher:
    return WeightAverage(10)


def moving(trainer: Trainer) -> Watcher:
    return MovingAverage(trainer, 0.9)


@pytest.fixture
def short_data(text: str) -> TextData:
    """An epoch is five iterations of 45 windows."""
    return TextData(split_text(text[:2000]), CharTokenizer(text), block_size=8)


def extended(train: Train, before: int) -> Trainer:
    """Train as a run of `before` iterations that is then extended to the whole length, in another process."""
    first = small_trainer("v1", learning_rate=1.0)
    with pytest.raises(Interrupted):  # once the checkpoint is there from which it is extended
        train(first, before, InterruptAt(before))
    trainer = small_trainer("v1", seed=9, learning_rate=1.0)
    trainer.restore(*saved(first))
    return train(trainer, WHOLE)


@pytest.mark.parametrize(("at", "optimizer", "average"), [(5, "muon", moving), (10, "sgd", last_half)])
def test_resumed_training_equals_uninterrupted_training(
    data: TextData, at: int, optimizer: str, average: Callable[[Trainer], Watcher]
) -> None:
    """v7 draws dropout masks, so that random states count."""
    whole = small_trainer("v7", optimizer=optimizer)
    train_up(whole, data, watchers=[average(whole)])
    first = small_trainer("v7", optimizer=optimizer)
    with pytest.raises(Interrupted):
        train_up(first, data, watchers=[average(first), InterruptAt(at)])
    progress, tensors = saved(first)
    before = progress.model_copy(deep=True), bits(tensors)
    torch.rand(100)
    second = small_trainer("v7", seed=9, optimizer=optimizer)
    second.restore(progress, tensors)
    train_up(second, data, watchers=[average(second)])
    assert losses(second) == losses(whole)
    assert bits(second.tensors()) == bits(whole.tensors())
    assert (progress, bits(tensors)) == before


@pytest.mark.parametrize(("eval_interval", "patience"), [(3, 2), ("epoch", 1)])
def test_an_extended_run_stops_and_samples_like_one_run(
    short_data: TextData, tmp_path: Path, eval_interval: int | str, patience: int
) -> None:
    """The evaluation after the last iteration of the first part decides nothing."""
    numbers = itertools.count()

    def train_to(trainer: Trainer, max_iters: int, *more: Watcher) -> Trainer:
        settings = {"eval_interval": eval_interval, "patience": patience, "sample_interval": 2} | SHORT
        sampled: Any = SimpleNamespace(sample=lambda *_: f"{trainer.state.iteration}")
        trainer.task, run = sampled, empty_run(tmp_path / f"{next(numbers)}")
        train_recorded(trainer, short_data, run, watchers=more, max_iters=max_iters, **settings)
        return trainer

    whole = train_to(small_trainer("v1", learning_rate=1.0), WHOLE)
    expected = [(e.iteration, e.sample) for e in whole.state.evaluations]
    for before in range(1, whole.state.iteration, 2):
        trainer = extended(train_to, before)
        assert bits(trainer.tensors()) == bits(whole.tensors())
        seen = [(e.iteration, e.sample) for e in trainer.state.evaluations]
        assert [row for row in seen if row in expected or row[0] != before] == expected


def test_epochs_are_counted_on_if_the_batches_become_larger(data: TextData) -> None:
    """18,000 characters in batches of 45 windows of 8, then of 450: an epoch is 50 iterations, then five."""
    settings: dict[str, Any] = {"eval_interval": "epoch", "eval_iters": 1}
    trainer = small_trainer("v1")
    train_up(trainer, data, max_iters=60, batch_size=45, **settings)
    second = small_trainer("v1")
    second.restore(*saved(trainer))
    train_up(second, data, max_iters=72, batch_size=450, **settings)
    assert [e.iteration for e in second.state.evaluations] == [0, 50, 60, 64, 69, 72]
    assert second.state.tokens // data.epoch_tokens == 3


@pytest.mark.parametrize("changes", [{"optimizer": "sgd"}, {"n_embd": 16}, {"n_layer": 2}], ids=str)
def test_the_state_of_another_model_or_optimizer_is_refused(data: TextData, changes: dict) -> None:
    trainer, stranger = small_trainer("v5"), small_trainer("v5", **changes)
    before = weights(stranger)
    with pytest.raises(UserError, match="optimizer"):
        stranger.restore(*saved(trainer))
    assert weights(stranger) == before


def test_a_damaged_state_is_refused() -> None:
    trainer, other = small_trainer("v5"), small_trainer("v5", seed=2)
    progress, tensors = saved(trainer)
    announced = progress.model_copy(update={"averaged": [0]})  # and not there
    lacking = {name: x for name, x in tensors.items() if name != "last_batch"}
    retyped = tensors | {"skipped": tensors["skipped"].bool()}
    for wrong in ((progress, lacking), (progress, retyped), (announced, tensors)):
        with pytest.raises(UserError, match="optimizer"):
            other.restore(*wrong)
    for damaged in (torch.zeros(9, dtype=torch.uint8), torch.zeros(5056)):
        with pytest.raises(UserError, match=r"random\.cpu"):
            other.restore(progress, tensors | {"random.cpu": damaged})


def test_a_state_from_another_device_is_restored() -> None:
    trainer, other = small_trainer("v5"), small_trainer("v5", seed=2)
    progress, tensors = saved(trainer)
    other.restore(progress, {name: x for name, x in tensors.items() if not name.startswith("random.")})
    assert weights(other) == weights(trainer)
