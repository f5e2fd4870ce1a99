"""Watchers: callbacks that the training loop calls in the order of their list.

The order matters: the guard comes first, so that nothing is saved after NaN or Inf, and the run writer saves the last
weights before the weight average overwrites those of the model. Rank 0 has all watchers, those of recording.py among
them; the other ranks have only the guard and the weight average.
"""

import logging
import math
from collections.abc import Callable
from typing import Literal

from tqdm import tqdm

from gpt.errors import DivergedError, RequestError
from gpt.runs.folder import RunFolder
from gpt.runs.records import Summary
from gpt.runs.weights import save_weights
from gpt.training.schedules import Schedule
from gpt.training.state import TrainingState

log = logging.getLogger(__name__)


class Watcher:
    """Base class of the callbacks; override the methods you need."""

    def evaluated(self, state: TrainingState) -> None:
        """The losses were estimated: the newest of `state.progress.evaluations`."""

    def between_steps(self, state: TrainingState, is_last: bool) -> None:
        """All steps so far are complete; `is_last` is true before the run stops and after its last iteration."""

    def stepped(self, state: TrainingState) -> None:
        """A step was taken. Reading a tensor of the state here makes every step wait for the device."""

    def finished(self, state: TrainingState) -> None:
        """The last iteration is done and evaluated."""

    def reported(self, summary: Summary) -> None:
        """The results are in the run folder."""

    def close(self) -> None:
        """The training has ended, possibly by an error or a signal."""


class NonFiniteGuard(Watcher):
    """Reports updates that were skipped because of NaN or Inf: an error with the policy "stop", else a warning.

    Runs on every rank.
    """

    def __init__(
        self, state: TrainingState, policy: Literal["stop", "skip"], schedule: Schedule, max_iters: int
    ) -> None:
        self._policy, self._schedule, self._max_iters = policy, schedule, max_iters
        self._reported = int(state.skipped)  # those from before the run was resumed

    def evaluated(self, state: TrainingState) -> None:
        """Check the updates since the last check, and the newest losses."""
        self.check(state)
        newest = state.progress.evaluations[-1]
        if not (math.isfinite(newest.train) and math.isfinite(newest.val)):
            raise DivergedError(
                f"the loss is {newest.train} (train) and {newest.val} (val) after {newest.iteration} iterations"
            )

    def check(self, state: TrainingState) -> None:
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


class ConsoleLog(Watcher):
    """Logs a line for each evaluation, followed by `examples` of the model's output."""

    def __init__(self, max_iters: int, epoch: Callable[[int], int], examples: Callable[[], list[str]]) -> None:
        self._width, self._epoch, self._examples = len(str(max_iters)), epoch, examples

    def evaluated(self, state: TrainingState) -> None:
        """Log the newest losses."""
        first, new = state.progress.evaluations[0], state.progress.evaluations[-1]
        speed = f"   {state.tokens_per_second:,.0f} tokens/s" if new.iteration else ""
        rates = " ".join(f"{rate:.1e}" for rate in new.learning_rates.values())
        epoch = self._epoch(new.iteration)
        epochs = f"   epoch {epoch}" if epoch else ""
        log.info(
            f"iteration {new.iteration:>{self._width}}{epochs}"
            f"   train {new.train:.4f}   val {new.val:.4f}   lr {rates}{speed}"
        )
        if new.iteration:
            for line in self._examples():
                log.info(line)
        if new.train > first.train:
            log.warning(f"the training loss is above {first.train:.4f}, where it started: the run may be diverging")


class WeightAverage(Watcher):
    """Averages the weights at each evaluation from iteration `start` on, and loads the average at the end.

    Runs on every rank; `run` is where rank 0 saves the averaged weights. Raises RequestError if a resumed run's average
    would need weights that were not kept.
    """

    def __init__(self, state: TrainingState, start: float, run: RunFolder | None) -> None:
        self._start, self._run = start, run
        progress = state.progress
        due = [evaluation.iteration for evaluation in progress.evaluations if evaluation.iteration >= start]
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

    def finished(self, state: TrainingState) -> None:
        """Load the average into the model."""
        if state.average:
            state.model.load_state_dict(state.average)
            if self._run is not None:
                save_weights(self._run, state.model, "averaged")


class ProgressBar(Watcher):
    """Shows a progress bar on a terminal, and nothing where the output is piped."""

    def __init__(self, state: TrainingState, max_iters: int) -> None:
        self._bar = tqdm(
            initial=state.progress.iteration, total=max_iters, unit="it", dynamic_ncols=True, leave=False, disable=None
        )

    def stepped(self, state: TrainingState) -> None:
        """Advance. Reading the loss waits for the device, so only do it when the bar has just been drawn."""
        if self._bar.update():
            speed = f"{state.tokens_per_second:,.0f} tokens/s"
            self._bar.set_postfix_str(f"loss {state.last_batch.item():.3f}, {speed}", refresh=False)

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()
