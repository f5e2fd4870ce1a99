"""Weight averaging: the mean over the last part of a run, or a moving average over all of it.

The loop loads the average into the model at the end.
"""

import torch

from gpt.base.errors import RequestError
from gpt.training.recipe import Recipe
from gpt.training.state import TrainingState
from gpt.training.watchers import Phase, Watcher


class WeightAverage(Watcher):
    """Averages the weights at each evaluation from iteration `start` on.

    A resumed run has the average of an uninterrupted run with its current settings. An evaluation at another iteration,
    such as the last one before the run was extended, does not count. Raises RequestError if the weights that this needs
    were not kept.
    """

    phase = Phase.CHANGE

    def __init__(self, state: TrainingState, recipe: Recipe, start: float) -> None:
        self._start = start
        progress = state.progress
        due = [i for i in recipe.evaluated(progress) if i >= start and (i < progress.iteration or state.is_evaluated)]
        if due == progress.averaged:
            return
        if due not in ([], [progress.iteration]):
            raise RequestError(
                f"the average from iteration {start:g} on cannot be continued, because the weights after iteration "
                f"{due[0]} were not kept: start a new run, or turn the average off with training.average_last=0"
            )
        state.reset_average()
        if due:
            state.update_average()

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
        if state.progress.averaged != [state.progress.iteration]:
            state.reset_average()
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
