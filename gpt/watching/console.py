"""The console: a line per evaluation and the report at the end, and a progress bar."""

import logging
import math
import sys
import time

from tqdm import tqdm

from gpt.base.durations import format_duration
from gpt.runs.records import Summary
from gpt.training.evaluation import estimation_targets
from gpt.training.length import early_end
from gpt.training.state import Means
from gpt.training.trainer import Trainer
from gpt.training.watchers import Watcher
from gpt.watching.loggers import RunWatcher

_FIRST_SECONDS = 10.0  # of training before its duration is estimated
_LONG = 600.0  # seconds
_NOISE = 4.0  # nats for one target; healthy runs rise less after two updates, and means vary less

log = logging.getLogger(__name__)


class ConsoleLog(RunWatcher):
    """Logs a line for each evaluation, followed by examples of the model's output, and the report at the end."""

    def __init__(self, shorter: str = "") -> None:
        """`shorter`: the command for a smaller training."""
        self._shorter = shorter
        self._since: tuple[float, int] | None = None  # when this process began to train, and at which iteration
        self._has_told = False

    def evaluated(self, trainer: Trainer) -> None:
        """Log the newest losses."""
        state = trainer.state
        first, new = state.evaluations[0], state.evaluations[-1]
        left = self._seconds_left(trainer)
        speed = f"   {trainer.tokens_per_second:,.0f} tokens/s" if new.iteration else ""
        speed += f"   {format_duration(left)} left" if left else ""
        rates = " ".join(f"{rate:.1e}" for rate in new.learning_rates.values())
        epoch = int(state.tokens // trainer.data.epoch_tokens)
        epochs = f"   epoch {epoch}" if epoch else ""
        metrics = "".join(f"   {name} {_formatted(means)}" for name, means in new.metrics.items())
        log.info(
            f"iteration {new.iteration:>{len(str(trainer.last_iteration))}}{epochs}"
            f"   train {new.train:.4f}   val {new.val:.4f}{metrics}   lr {rates}{speed}"
        )
        if new.iteration:
            for line in trainer.task.examples(trainer.model, trainer.corpus):
                log.info(line)
        for line in (new.sample or "").splitlines():
            log.info(f"  | {line}")
        if new.train > first.train + _NOISE / math.sqrt(estimation_targets(trainer, "train").count):
            log.warning(f"the training loss is above {first.train:.4f}, its start: the run may be diverging")
        if self._since is None:
            self._since = time.perf_counter(), new.iteration

    def stepped(self, trainer: Trainer) -> None:
        """Log once, after ten seconds, how long a long training will take."""
        if self._has_told or self._since is None or time.perf_counter() - self._since[0] < _FIRST_SECONDS:
            return
        self._has_told = True
        if (left := self._seconds_left(trainer)) > _LONG:
            shorter = f"; {self._shorter} takes minutes" if self._shorter else ""
            log.info(f"about {format_duration(left)} to go at this speed{shorter}")

    def finished(self, trainer: Trainer) -> None:
        """Log that the training ended early, and why."""
        iteration, max_iters = trainer.state.iteration, trainer.last_iteration
        if iteration < max_iters:
            log.info(f"ended early, after {iteration:,} of {max_iters:,} iterations: {early_end(trainer)}")

    def reported(self, summary: Summary, lines: list[str]) -> None:  # noqa: ARG002
        """Log the report."""
        for line in lines:
            log.info(line)

    def _seconds_left(self, trainer: Trainer) -> float:
        """The seconds left at the speed of this process so far, evaluations included; 0 if unknown."""
        if self._since is None:
            return 0.0
        started, first = self._since
        done, left = trainer.state.iteration - first, trainer.last_iteration - trainer.state.iteration
        return (time.perf_counter() - started) * left / done if done else 0.0


def _formatted(means: Means) -> str:
    """The means over both splits: 0.3125 train, 0.3012 val."""
    values = {"train": means.train, "val": means.val}
    return ", ".join(f"{'-' if value is None else f'{value:.4f}'} {split}" for split, value in values.items())


class ProgressBar(Watcher):
    """Shows a progress bar in a terminal or a notebook, and nothing if the output is piped."""

    def __init__(self, trainer: Trainer, *, is_hidden: bool = False) -> None:
        bar = tqdm
        disable: bool | None = is_hidden or None  # None: unless it is a terminal
        if "ipykernel" in sys.modules:
            from tqdm.auto import tqdm as bar  # a widget

            disable = is_hidden
        first, last = trainer.state.iteration, trainer.last_iteration
        self._bar = bar(initial=first, total=last, unit="it", dynamic_ncols=True, leave=False, disable=disable)

    def stepped(self, trainer: Trainer) -> None:
        """Advance. Reading the loss waits for the device, so this is done only when the bar has just been drawn."""
        self._bar.total = trainer.last_iteration
        if self._bar.update():
            speed = f"{trainer.tokens_per_second:,.0f} tokens/s"
            self._bar.set_postfix_str(f"loss {trainer.last_batch.item():.3f}, {speed}", refresh=False)

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()
