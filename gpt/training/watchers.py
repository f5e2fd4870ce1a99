"""Watchers: objects that the training loop calls, in the order of their list.

The guard comes first, so that no other watcher acts on NaN or Inf; the weight average comes last, so that the others
have seen the last weights before it replaces them. Watchers that change the weights or end the run exist on every
rank; those that record change only the progress of rank 0, which is the one that is saved.
"""

import logging
import math
from typing import TYPE_CHECKING, Literal

from gpt.base.errors import DivergedError
from gpt.training.schedules import Schedule

if TYPE_CHECKING:  # a tracker's process imports this module without torch
    from gpt.training.state import TrainingState

log = logging.getLogger(__name__)


class Watcher:
    """Observes a training run; override the methods you need."""

    def evaluated(self, state: "TrainingState") -> None:
        """The losses were estimated: the newest of `state.progress.evaluations`."""

    def between_steps(self, state: "TrainingState", is_last: bool) -> None:
        """All steps so far are complete; `is_last` is true before the run stops and after its last iteration."""

    def stepped(self, state: "TrainingState") -> None:
        """A step was taken. Reading a tensor of the state here would make every step wait for the device."""

    def finished(self, state: "TrainingState") -> None:
        """The last iteration is done and evaluated."""

    def close(self) -> None:
        """The training has ended, possibly by an error or a signal."""


class NonFiniteGuard(Watcher):
    """Reports updates that were skipped because of NaN or Inf: an error with the policy "stop", else a warning."""

    def __init__(
        self, state: "TrainingState", policy: Literal["stop", "skip"], schedule: Schedule, max_iters: int
    ) -> None:
        self._policy, self._schedule, self._max_iters = policy, schedule, max_iters
        self._reported = int(state.skipped)  # losses from before the run was resumed

    def evaluated(self, state: "TrainingState") -> None:
        """Check the updates since the last check, and the newest losses."""
        self.check(state)
        newest = state.progress.evaluations[-1]
        if not (math.isfinite(newest.train) and math.isfinite(newest.val)):
            raise DivergedError(
                f"the loss is {newest.train} (train) and {newest.val} (val) after {newest.iteration} iterations"
            )

    def check(self, state: "TrainingState") -> None:
        """Check the updates since the last check. Raises DivergedError with the policy "stop"."""
        skipped = int(state.skipped)
        if skipped == self._reported:
            return
        self._reported, finite = skipped, int(state.finite)
        what = f"a loss or gradient was not finite in {skipped} updates, first after {finite} iterations"
        if self._policy == "stop":
            peaks = state.optimizer.peaks.values()
            rates = ", ".join(f"{self._schedule(finite, self._max_iters, peak):g}" for peak in peaks)
            raise DivergedError(f"{what}, with learning rate {rates}")
        log.warning(f"{what}; those updates were skipped")
