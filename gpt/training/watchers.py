"""Watchers: objects that the training loop calls, phase by phase."""

import logging
import math
from collections.abc import Iterable
from enum import IntEnum
from functools import partialmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gpt.base.errors import DivergedError
from gpt.training.schedules import Schedule

if TYPE_CHECKING:
    from gpt.training.state import TrainingState

log = logging.getLogger(__name__)


class Phase(IntEnum):
    """The order in which watchers are called at one moment."""

    GUARD = 1  # ends the run before a watcher acts on NaN or Inf
    CHANGE = 2  # changes the state that a checkpoint saves, as only the loop does otherwise
    RECORD = 3  # writes, or sends elsewhere
    SHOW = 4  # tells the user or the calling program


class Watcher:
    """Observes a training run; override the methods you need.

    Watchers of one phase may be called in any order.
    """

    phase: ClassVar[Phase] = Phase.RECORD

    def evaluated(self, state: "TrainingState") -> None:
        """The losses were estimated: the newest of `state.progress.evaluations`."""

    def between_steps(self, state: "TrainingState", is_last: bool) -> None:
        """All steps so far are complete; `is_last` is true before the run stops and after its last iteration."""

    def updated(self, state: "TrainingState") -> None:
        """An update was made; its gradients, after clipping, are still in `state.optimizer.parameters`.

        Reading a tensor of the state, here and in `stepped`, makes the step wait for the device.
        """

    def stepped(self, state: "TrainingState") -> None:
        """A step is complete: the next thing is an evaluation, a checkpoint or the next step."""

    def finished(self, state: "TrainingState") -> None:
        """The last iteration is done and evaluated; the model has its own weights, not yet their average."""

    def close(self) -> None:
        """The training has ended, possibly by an error or a signal."""


class Watchers(Watcher):
    """Several watchers as one, called in the order of their phases."""

    def __init__(self, watchers: Iterable[Watcher]) -> None:
        self._all = sorted(watchers, key=lambda watcher: watcher.phase)

    def _tell(self, moment: str, *details: Any) -> None:
        for watcher in self._all:
            getattr(watcher, moment)(*details)

    evaluated = partialmethod(_tell, "evaluated")
    between_steps = partialmethod(_tell, "between_steps")
    updated = partialmethod(_tell, "updated")
    stepped = partialmethod(_tell, "stepped")
    finished = partialmethod(_tell, "finished")


class NonFiniteGuard(Watcher):
    """Reports updates that were skipped because of NaN or Inf: an error with the policy "stop", else a warning."""

    phase = Phase.GUARD

    def __init__(
        self, state: "TrainingState", policy: Literal["stop", "skip"], schedule: Schedule, max_iters: int
    ) -> None:
        self._policy, self._schedule, self._max_iters = policy, schedule, max_iters
        self._reported = int(state.skipped)  # from before the run was resumed

    def evaluated(self, state: "TrainingState") -> None:
        """Check the updates since the last check, and the newest losses."""
        self.check(state)
        newest = state.progress.evaluations[-1]
        train, val = newest.train, newest.val
        if not (math.isfinite(train) and math.isfinite(val)):
            raise DivergedError(f"the loss is {train} (train) and {val} (val) after {newest.iteration} iterations")

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
