"""Watchers for a terminal: a line per evaluation and the report at the end, and a progress bar."""

import logging
import math
import sys
import time
from collections.abc import Callable

from tqdm import tqdm

from gpt.base.durations import spoken
from gpt.runs.records import Summary
from gpt.training.progress import Means
from gpt.training.recipe import Recipe
from gpt.training.state import TrainingState
from gpt.training.watchers import Phase, Watcher
from gpt.watching.loggers import RunWatcher

_FIRST_SECONDS = 10.0  # of training before its duration is estimated
_LONG = 600.0  # seconds
_NOISE = 4.0  # nats for one target; healthy runs rise less after two updates, and means vary less

log = logging.getLogger(__name__)


class ConsoleLog(RunWatcher):
    """Logs a line for each evaluation, followed by `examples` of the model's output, and the report at the end."""

    phase = Phase.SHOW

    def __init__(self, recipe: Recipe, examples: Callable[[], list[str]], targets: int, shorter: str = "") -> None:
        """`targets`: how many a training loss is estimated over; `shorter`: the command for a smaller training."""
        self._recipe, self._examples, self._shorter = recipe, examples, shorter
        self._noise = _NOISE / math.sqrt(targets)
        self._since: tuple[float, int] | None = None  # when this process began to train, and at which iteration
        self._has_told = False

    def evaluated(self, state: TrainingState) -> None:
        """Log the newest losses."""
        first, new = state.progress.evaluations[0], state.progress.evaluations[-1]
        left, max_iters = self._seconds_left(state), self._recipe.last(state.progress)
        speed = f"   {state.tokens_per_second:,.0f} tokens/s" if new.iteration else ""
        speed += f"   {spoken(left)} left" if left else ""
        rates = " ".join(f"{rate:.1e}" for rate in new.learning_rates.values())
        epoch = int(state.progress.tokens // self._recipe.data.epoch_tokens)
        epochs = f"   epoch {epoch}" if epoch else ""
        metrics = "".join(f"   {name} {_shown(means)}" for name, means in new.metrics.items())
        log.info(
            f"iteration {new.iteration:>{len(str(max_iters))}}{epochs}"
            f"   train {new.train:.4f}   val {new.val:.4f}{metrics}   lr {rates}{speed}"
        )
        if new.iteration:
            for line in self._examples():
                log.info(line)
        for line in (new.sample or "").splitlines():
            log.info(f"  | {line}")
        if new.train > first.train + self._noise:
            log.warning(f"the training loss is above {first.train:.4f}, its start: the run may be diverging")
        if self._since is None:
            self._since = time.perf_counter(), new.iteration

    def stepped(self, state: TrainingState) -> None:
        """Log once, after ten seconds, how long a long training will take."""
        if self._has_told or self._since is None or time.perf_counter() - self._since[0] < _FIRST_SECONDS:
            return
        self._has_told = True
        if (left := self._seconds_left(state)) > _LONG:
            shorter = f"; {self._shorter} takes minutes" if self._shorter else ""
            log.info(f"about {spoken(left)} to go at this speed{shorter}")

    def finished(self, state: TrainingState) -> None:
        """Log that the training ended early, and why."""
        iteration, max_iters = state.progress.iteration, self._recipe.last(state.progress)
        if iteration < max_iters:
            why = self._recipe.early_end(state.progress)
            log.info(f"ended early, after {iteration:,} of {max_iters:,} iterations: {why}")

    def reported(self, summary: Summary, lines: list[str]) -> None:  # noqa: ARG002
        """Log the report."""
        for line in lines:
            log.info(line)

    def _seconds_left(self, state: TrainingState) -> float:
        """The seconds left at the speed of this process so far, evaluations included; 0 if unknown."""
        if self._since is None:
            return 0.0
        started, first = self._since
        done, left = state.progress.iteration - first, self._recipe.last(state.progress) - state.progress.iteration
        return (time.perf_counter() - started) * left / done if done else 0.0


def _shown(means: Means) -> str:
    """The means over both splits: 0.3125 train, 0.3012 val."""
    values = {"train": means.train, "val": means.val}
    return ", ".join(f"{'-' if value is None else f'{value:.4f}'} {split}" for split, value in values.items())


class ProgressBar(Watcher):
    """Shows a progress bar in a terminal or a notebook, and nothing if the output is piped."""

    phase = Phase.SHOW

    def __init__(self, state: TrainingState, recipe: Recipe, *, is_hidden: bool = False) -> None:
        self._recipe, bar = recipe, tqdm
        disable: bool | None = is_hidden or None  # None: unless it is a terminal
        if "ipykernel" in sys.modules:
            from tqdm.auto import tqdm as bar  # a widget

            disable = is_hidden
        self._bar = bar(
            initial=state.progress.iteration,
            total=recipe.last(state.progress),
            unit="it",
            dynamic_ncols=True,
            leave=False,
            disable=disable,
        )

    def stepped(self, state: TrainingState) -> None:
        """Advance. Reading the loss waits for the device, so this is done only when the bar has just been drawn."""
        self._bar.total = self._recipe.last(state.progress)
        if self._bar.update():
            speed = f"{state.tokens_per_second:,.0f} tokens/s"
            self._bar.set_postfix_str(f"loss {state.last_batch.item():.3f}, {speed}", refresh=False)

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()
