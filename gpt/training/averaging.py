"""Weight averaging: the mean over the last part of a run, or a moving average over all of it.

The loop loads the average into the model at the end.
"""

import torch

from gpt.training.state import TrainingState
from gpt.training.watchers import Phase, Watcher


class WeightAverage(Watcher):
    """Averages the weights at each evaluation from iteration `start` on."""

    phase = Phase.CHANGE

    def __init__(self, start: int) -> None:
        self._start = start

    def evaluated(self, state: TrainingState) -> None:
        """Update the average."""
        if state.progress.iteration >= self._start:
            state.update_average()


class MovingAverage(Watcher):
    """Keeps an exponential moving average of the weights.

    In the first iterations the decay is smaller, (1 + t) / (10 + t) after t of them, so that the initial weights do not
    stay in the average for long, as in TensorFlow's tf.train.ExponentialMovingAverage.
    """

    phase = Phase.CHANGE

    def __init__(self, state: TrainingState, decay: float) -> None:
        """A resumed average continues; a new one begins with the current weights."""
        self._decay = decay
        if not state.progress.averaged:
            state.update_average()
        trained = {name: x for name, x in state.model.state_dict().items() if x.is_floating_point()}
        self._averages, self._weights = [state.average[name] for name in trained], list(trained.values())

    @torch.no_grad()
    def stepped(self, state: TrainingState) -> None:
        """Update the average."""
        t = state.progress.iteration
        decay = min(self._decay, (1 + t) / (10 + t))
        torch._foreach_lerp_(self._averages, self._weights, 1 - decay)
        state.progress.averaged = [t]
