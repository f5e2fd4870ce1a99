"""The training state: what is saved is restored bit-exactly, and only into what it belongs to."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from gpt.base.errors import UserError
from gpt.data.text import TextData
from gpt.data.tokenizers.characters import CharTokenizer
from gpt.training.averaging import MovingAverage, WeightAverage
from gpt.training.loop import train
from gpt.training.progress import Progress
from gpt.training.state import TrainingState
from gpt.training.watchers import Watcher
from gpt.watching.recorders import Sampler
from tests.conftest import split_text
from tests.training.helpers import bits, losses, small_recipe, small_state, train_state, weights

WHOLE = 40  # iterations
SHORT: dict[str, Any] = {"batch_size": 45, "eval_iters": 1}
Train = Callable[..., TrainingState]  # up to an iteration, with these further watchers


def saved(state: TrainingState) -> tuple[Progress, dict[str, Tensor]]:
    """What a checkpoint of now would contain."""
    return state.progress.model_copy(deep=True), {name: tensor.clone() for name, tensor in state.tensors().items()}


class Interrupted(Exception):  # noqa: N818 - it is no error
    pass


class InterruptAt(Watcher):
    """Ends a training after so many steps."""

    def __init__(self, iteration: int) -> None:
        self._iteration = iteration

    def between_steps(self, state: TrainingState, is_last: bool) -> None:
        if state.progress.iteration == self._iteration:
            raise Interrupted


def last_half(_: TrainingState) -> Watcher:
    return WeightAverage(10)


def moving(state: TrainingState) -> Watcher:
    return MovingAverage(state, 0.9)


@pytest.fixture
def short_data(text: str) -> TextData:
    """An epoch is five iterations of 45 windows."""
    return TextData(split_text(text[:2000]), CharTokenizer(text), block_size=8)


def extended(train: Train, before: int) -> TrainingState:
    """Train as a run of `before` iterations that is then extended to the whole length, in another process."""
    first = small_state("v1", learning_rate=1.0)
    with pytest.raises(Interrupted):  # once the checkpoint is there from which it is extended
        train(first, before, InterruptAt(before))
    state = small_state("v1", seed=9, learning_rate=1.0)
    state.restore(*saved(first))
    return train(state, WHOLE)


@pytest.mark.parametrize(("at", "optimizer", "average"), [(5, "muon", moving), (10, "sgd", last_half)])
def test_resumed_training_equals_uninterrupted_training(
    data: TextData, at: int, optimizer: str, average: Callable[[TrainingState], Watcher]
) -> None:
    """v7 draws dropout masks, so that random states count."""
    whole = small_state("v7", optimizer=optimizer)
    train_state(whole, data, watchers=[average(whole)])
    first = small_state("v7", optimizer=optimizer)
    with pytest.raises(Interrupted):
        train_state(first, data, watchers=[average(first), InterruptAt(at)])
    progress, tensors = saved(first)
    before = progress.model_copy(deep=True), bits(tensors)
    torch.rand(100)
    second = small_state("v7", seed=9, optimizer=optimizer)
    second.restore(progress, tensors)
    train_state(second, data, watchers=[average(second)])
    assert losses(second) == losses(whole)
    assert bits(second.tensors()) == bits(whole.tensors())
    assert (progress, bits(tensors)) == before


@pytest.mark.parametrize(("eval_interval", "patience"), [(3, 2), ("epoch", 1)])
def test_an_extended_run_stops_and_samples_like_one_run(
    short_data: TextData, eval_interval: int | str, patience: int
) -> None:
    """The evaluation after the last iteration of the first part decides nothing."""

    def train_to(state: TrainingState, max_iters: int, *more: Watcher) -> TrainingState:
        settings = {"eval_interval": eval_interval, "patience": patience, "sample_interval": 2} | SHORT
        recipe = small_recipe(short_data, max_iters=max_iters, **settings)
        train(state, recipe, [Sampler(recipe, lambda: f"{state.progress.iteration}"), *more])
        return state

    whole = train_to(small_state("v1", learning_rate=1.0), WHOLE)
    expected = [(e.iteration, e.sample) for e in whole.progress.evaluations]
    for before in range(1, whole.progress.iteration, 2):
        state = extended(train_to, before)
        assert bits(state.tensors()) == bits(whole.tensors())
        seen = [(e.iteration, e.sample) for e in state.progress.evaluations]
        assert [row for row in seen if row in expected or row[0] != before] == expected


def test_epochs_are_counted_on_if_the_batches_become_larger(data: TextData) -> None:
    """18,000 characters in batches of 45 windows of 8, then of 450: an epoch is 50 iterations, then five."""
    settings: dict[str, Any] = {"eval_interval": "epoch", "eval_iters": 1}
    state = small_state("v1")
    train_state(state, data, max_iters=60, batch_size=45, **settings)
    second = small_state("v1")
    second.restore(*saved(state))
    train_state(second, data, max_iters=72, batch_size=450, **settings)
    assert [e.iteration for e in second.progress.evaluations] == [0, 50, 60, 64, 69, 72]
    assert second.progress.tokens // data.epoch_tokens == 3


@pytest.mark.parametrize("changes", [{"optimizer": "sgd"}, {"n_embd": 16}, {"n_layer": 2}], ids=str)
def test_the_state_of_another_model_or_optimizer_is_refused(data: TextData, changes: dict) -> None:
    state, stranger = small_state("v5"), small_state("v5", **changes)
    before = weights(stranger)
    with pytest.raises(UserError, match="optimizer"):
        stranger.restore(*saved(state))
    assert weights(stranger) == before


def test_a_damaged_state_is_refused() -> None:
    state, other = small_state("v5"), small_state("v5", seed=2)
    progress, tensors = saved(state)
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
    state, other = small_state("v5"), small_state("v5", seed=2)
    progress, tensors = saved(state)
    other.restore(progress, {name: x for name, x in tensors.items() if not name.startswith("random.")})
    assert weights(other) == weights(state)
