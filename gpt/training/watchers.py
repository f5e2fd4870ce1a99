"""Watchers: objects that the training loop calls."""

import logging
import math
from typing import TYPE_CHECKING

from gpt.base.errors import DivergedError

if TYPE_CHECKING:
    from gpt.training.trainer import Trainer

log = logging.getLogger(__name__)


class Watcher:
    """Observes a training run; override the methods you need.

    They are called in the order of their list in gpt/session/train.py.
    """

    def evaluated(self, trainer: "Trainer") -> None:
        """The losses were estimated: the newest of `trainer.state.evaluations`."""

    def between_steps(self, trainer: "Trainer", is_last: bool) -> None:
        """All steps so far are complete; `is_last` is true before the run stops and after its last iteration."""

    def updated(self, trainer: "Trainer") -> None:
        """An update was made; its gradients, after clipping, are still in `trainer.optimizer.parameters`.

        Reading a tensor of the trainer, here and in `stepped`, makes the step wait for the device.
        """

    def stepped(self, trainer: "Trainer") -> None:
        """A step is complete: the next thing is an evaluation, a checkpoint or the next step."""

    def finished(self, trainer: "Trainer") -> None:
        """The last iteration is done and evaluated; the model has its own weights, not yet their average."""

    def close(self) -> None:
        """The training has ended, possibly by an error or a signal."""


class NonFiniteGuard(Watcher):
    """Reports updates that were skipped because of NaN or Inf: an error with the policy "stop", else a warning.

    It also names, once, the parameters that get no gradient.
    """

    def __init__(self, trainer: "Trainer") -> None:
        self._reported = int(trainer.skipped)  # from before the run was resumed
        self._has_looked = False

    def updated(self, trainer: "Trainer") -> None:
        """Look for parameters without a gradient, in the first update."""
        if not self._has_looked:
            self._has_looked = True
            if idle := [name for name, p in trainer.optimizer.parameters.items() if p.grad is None]:
                log.warning(f"{', '.join(idle)} get no gradient, and stay as they are")

    def evaluated(self, trainer: "Trainer") -> None:
        """Check the updates since the last check, and the newest losses."""
        self.check(trainer)
        newest = trainer.state.evaluations[-1]
        train, val = newest.train, newest.val
        if not (math.isfinite(train) and math.isfinite(val)):
            raise DivergedError(f"the loss is {train} (train) and {val} (val) after {newest.iteration} iterations")

    def check(self, trainer: "Trainer") -> None:
        """Check the updates since the last check. Raises DivergedError with the policy "stop"."""
        skipped = int(trainer.skipped)
        if skipped == self._reported:
            return
        self._reported, finite = skipped, int(trainer.finite)
        what = f"a loss or gradient was not finite in {skipped} updates, first after {finite} iterations"
        if trainer.settings.on_nonfinite == "stop":
            peaks, last = trainer.optimizer.peaks.values(), trainer.last_iteration
            rates = ", ".join(f"{trainer.schedule(finite, last, peak):g}" for peak in peaks)
            raise DivergedError(f"{what}, with learning rate {rates}")
        log.warning(f"{what}; those updates were skipped")
