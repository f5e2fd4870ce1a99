"""Weight averaging: the mean over the last part of a run, or a moving average over all of it.

The loop loads the average into the model at the end.
"""

import torch

from gpt.training.trainer import Trainer
from gpt.training.watchers import Watcher


class WeightAverage(Watcher):
    """Averages the weights at each evaluation from iteration `start` on."""

    def __init__(self, start: int) -> None:
        self._start = start

    def evaluated(self, trainer: Trainer) -> None:
        """Update the average."""
        if trainer.state.iteration >= self._start:
            trainer.update_average()


class MovingAverage(Watcher):
    """Keeps an exponential moving average of the weights.

    In the first iterations the decay is smaller, (1 + t) / (10 + t) after t of them, so that the initial weights do not
    stay in the average for long, as in TensorFlow's tf.train.ExponentialMovingAverage.
    """

    def __init__(self, trainer: Trainer, decay: float) -> None:
        """A resumed average continues; a new one begins with the current weights."""
        self._decay = decay
        if not trainer.state.averaged:
            trainer.update_average()
        trained = {name: x.detach() for name, x in trainer.model.named_parameters() if name in trainer.average}
        self._averages, self._weights = [trainer.average[name] for name in trained], list(trained.values())

    @torch.no_grad()
    def stepped(self, trainer: Trainer) -> None:
        """Update the average."""
        t = trainer.state.iteration
        decay = min(self._decay, (1 + t) / (10 + t))
        torch._foreach_lerp_(self._averages, self._weights, 1 - decay)
        trainer.state.averaged = [t]

    def finished(self, trainer: Trainer) -> None:
        """Take the buffers of the model, which are not averaged."""
        trainer.copy_buffers()
