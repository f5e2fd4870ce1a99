"""Samples during training, from which one sees what the losses mean."""

from collections.abc import Callable

from gpt.training.state import TrainingState
from gpt.training.watchers import Phase, Watcher


class Sampler(Watcher):
    """Adds a sample to every `interval`-th evaluation after the first, for the log, the trackers and the run folder."""

    phase = Phase.CHANGE

    def __init__(self, interval: int | None, sample: Callable[[], str]) -> None:
        self._interval, self._sample = interval, sample

    def evaluated(self, state: TrainingState) -> None:
        """Generate a sample, if one is due."""
        evaluations = state.progress.evaluations
        if self._interval is None or len(evaluations) == 1 or (len(evaluations) - 1) % self._interval:
            return
        was_training = state.model.training
        evaluations[-1] = evaluations[-1].model_copy(update={"sample": self._sample()})
        state.model.train(was_training)
