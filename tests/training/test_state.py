"""The training state: what is saved is restored bit-exactly, and only into what it belongs to."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from gpt.base.errors import RequestError, UserError
from gpt.data.text import TextData
from gpt.training.averaging import MovingAverage, WeightAverage
from gpt.training.loop import train
from gpt.training.progress import Progress
from gpt.training.state import TrainingState
from gpt.training.watchers import Watcher
from gpt.watching.recorders import Sampler
from tests.training.helpers import bits, losses, small_recipe, small_state, train_state, weights


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


def last_half(state: TrainingState, data: TextData) -> Watcher:
    return WeightAverage(state, small_recipe(data), 10)


def moving(state: TrainingState, _: TextData) -> Watcher:
    return MovingAverage(state, 0.9)


@pytest.mark.parametrize(
    ("at", "optimizer", "average"),
    [(1, "adamw", last_half), (5, "muon", moving), (10, "adamw", moving), (19, "sgd", last_half)],
)
def test_resumed_training_equals_uninterrupted_training(
    data: TextData, at: int, optimizer: str, average: Callable[[TrainingState, TextData], Watcher]
) -> None:
    """v7 draws dropout masks, so that random states count."""
    whole = small_state("v7", optimizer=optimizer)
    train_state(whole, data, watchers=[average(whole, data)])
    first = small_state("v7", optimizer=optimizer)
    with pytest.raises(Interrupted):
        train_state(first, data, watchers=[average(first, data), InterruptAt(at)])
    progress, tensors = saved(first)
    torch.rand(100)
    second = small_state("v7", seed=9, optimizer=optimizer)
    second.restore(progress, tensors)
    train_state(second, data, watchers=[average(second, data)])
    assert losses(second) == losses(whole)
    assert bits(second.tensors()) == bits(whole.tensors())


@pytest.mark.parametrize(("eval_interval", "patience"), [(3, 2), ("epoch", 1)])
def test_an_extended_run_stops_and_samples_where_one_long_run_does(
    data: TextData, eval_interval: int | str, patience: int
) -> None:
    """An epoch is five iterations. The evaluation after the last iteration of the first part decides nothing."""
    settings: dict[str, Any] = {
        "eval_interval": eval_interval,
        "batch_size": 450,
        "eval_iters": 1,
        "patience": patience,
    }

    def trained(state: TrainingState, max_iters: int, *more: Watcher) -> TrainingState:
        recipe = small_recipe(data, max_iters=max_iters, sample_interval=2, **settings)
        train(state, recipe, [Sampler(recipe, lambda: f"{state.progress.iteration}"), *more])
        return state

    def seen(state: TrainingState, others: Sequence[int] = ()) -> list[tuple[int, str | None]]:
        return [(e.iteration, e.sample) for e in state.progress.evaluations if e.iteration not in others]

    whole = trained(small_state("v1", learning_rate=1.0), 40)
    for before in range(1, whole.progress.iteration):
        first = small_state("v1", learning_rate=1.0)
        with pytest.raises(Interrupted):
            trained(first, before, InterruptAt(before))
        extended = small_state("v1", seed=9, learning_rate=1.0)
        extended.restore(*saved(first))
        trained(extended, 40)
        assert bits(extended.tensors()) == bits(whole.tensors())
        own = [] if before in (i for i, _ in seen(whole)) else [before]
        assert seen(extended, own) == seen(whole)


@pytest.mark.parametrize(("eval_interval", "share"), [(5, 1.0), (10, 0.3), ("epoch", 0.5)])
def test_an_extended_average_is_that_of_one_long_run_or_is_refused(
    data: TextData, eval_interval: int | str, share: float
) -> None:
    """An epoch is five iterations. What is extended was evaluated after its last one, where the long run may not be."""
    settings: dict[str, Any] = {"eval_interval": eval_interval, "batch_size": 450, "eval_iters": 1}

    def trained(state: TrainingState, max_iters: int, *more: Watcher) -> TrainingState:
        recipe = small_recipe(data, max_iters=max_iters, **settings)
        train(state, recipe, [WeightAverage(state, recipe, (1 - share) * max_iters), *more])
        return state

    whole = trained(small_state("v1"), 24)
    refused = []
    for before in (6, 10, 12, 20):
        first = small_state("v1")
        with pytest.raises(Interrupted):  # once the checkpoint is there from which it is extended
            trained(first, before, InterruptAt(before))
        progress, tensors = saved(first)
        extended = small_state("v1", seed=9)
        extended.restore(progress, tensors)
        try:
            trained(extended, 24)
        except RequestError:
            refused.append(before)
        else:
            assert bits(extended.tensors()) == bits(whole.tensors())
            assert extended.progress.averaged == whole.progress.averaged
    assert 6 not in refused or share == 1.0  # where the long run's average begins after it


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


def test_restoring_does_not_tie_the_state_to_what_it_was_restored_from(data: TextData) -> None:
    first = small_state("v5")
    train_state(first, data, max_iters=4)
    progress, tensors = saved(first)
    second = small_state("v5")
    second.restore(progress, tensors)
    before = progress.model_copy(deep=True), bits(tensors)
    train_state(second, data, max_iters=8)
    assert (progress, bits(tensors)) == before


@pytest.mark.parametrize("changes", [{"optimizer": "sgd"}, {"n_embd": 16}, {"n_layer": 2}], ids=str)
def test_the_state_of_another_model_or_optimizer_is_refused(data: TextData, changes: dict) -> None:
    state, stranger = small_state("v5"), small_state("v5", **changes)
    before = weights(stranger)
    with pytest.raises(UserError, match=r"^the checkpoint belongs to another model or optimizer$"):
        stranger.restore(*saved(state))
    assert weights(stranger) == before


def test_a_state_that_is_damaged_is_refused() -> None:
    state, other = small_state("v5"), small_state("v5")
    progress, tensors = saved(state)
    announced = progress.model_copy(update={"averaged": [0]})  # and not there
    lacking = [{key: x for key, x in tensors.items() if key != name} for name in ("last_batch", "model.lm_head.bias")]
    for wrong in (*lacking, tensors | {"skipped": tensors["skipped"].bool()}):
        with pytest.raises(UserError, match="another model or optimizer"):
            other.restore(progress, wrong)
    with pytest.raises(UserError, match="another model or optimizer"):
        other.restore(announced, tensors)
    for damaged in (torch.zeros(9, dtype=torch.uint8), torch.zeros(5056)):
        with pytest.raises(UserError, match=r"damaged: random\.cpu is not a generator's state"):
            other.restore(progress, tensors | {"random.cpu": damaged})


def test_a_state_without_this_devices_rng_state_can_be_restored(data: TextData) -> None:
    """A run may go on on another device."""
    state = small_state("v5")
    train_state(state, data, max_iters=2)
    progress, tensors = saved(state)
    elsewhere = {name: tensor for name, tensor in tensors.items() if not name.startswith("random.")}
    assert elsewhere.keys() < tensors.keys()
    other = small_state("v5", seed=2)
    other.restore(progress, elsewhere)
    assert weights(other) == weights(state)
