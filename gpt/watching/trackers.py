"""Trackers: loggers that pass a run's rows on to a library, such as TensorBoard or Weights & Biases.

All rows are in the training state and its checkpoints. So a resumed run logs them again from iteration 0 on, and the
tracker leaves out or replaces what it has: each value is there once.
"""

import contextlib
import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, ClassVar

from pydantic import Field

from gpt.base.errors import UserError
from gpt.base.files import read_text_file
from gpt.runs.folder import RunFolder
from gpt.runs.records import Summary
from gpt.training.trainer import Trainer
from gpt.watching.loggers import RunWatcher, rows

Project = Annotated[str, Field(pattern=r"^[\w-]+$", max_length=60)]

log = logging.getLogger(__name__)


class Tracker(RunWatcher, ABC):
    """Opens the library's record of the run at the first evaluation or step. If it fails, the run goes on without it.

    A library that waits for its network makes the run wait.
    """

    package: ClassVar[str | None] = None  # the library that it needs; also the name of the extra that installs it

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.name = type(self).__module__.rpartition(".")[2]
        self.is_off = False  # it has failed, or is not wanted
        self._is_due = self._is_open = self._has_finished = False

    @abstractmethod
    def open(self) -> str:
        """Open the record of the run, whose id stays the same when it is resumed or moved; returns where to view it."""

    @abstractmethod
    def log(self, step: int, values: dict[str, float], texts: dict[str, str]) -> None:
        """Add the values of an iteration, and its texts; iterations come in ascending order, each once."""

    def report(self, step: int, values: dict[str, float], texts: dict[str, str]) -> None:
        """Add the results of a run that has finished."""
        self.log(step, values, texts)

    @abstractmethod
    def finish(self, *, is_finished: bool) -> None:
        """Deliver everything."""

    def evaluated(self, trainer: Trainer) -> None:  # noqa: ARG002
        """Mark that there is a row to log."""
        self._is_due = True

    def stepped(self, trainer: Trainer) -> None:
        """Mark that there is a row to log, if the step was recorded."""
        self._is_due |= [step.iteration for step in trainer.state.steps[-1:]] == [trainer.state.iteration]

    def between_steps(self, trainer: Trainer, is_last: bool) -> None:  # noqa: ARG002
        """Log the row of this iteration or, the first time, all rows so far."""
        if self._is_due:
            self._is_due = False
            self._attempt(lambda: self._log_rows(trainer))

    def finished(self, trainer: Trainer) -> None:
        """Log all rows if none has been logged: a resumed run may have nothing left to train."""
        self._is_due |= not self._is_open
        self.between_steps(trainer, is_last=True)

    def reported(self, summary: Summary, lines: list[str]) -> None:
        """Log the results."""
        values = {"exact_val": summary.exact.nats, "best_val": summary.best.nats}
        texts = {"report": "\n".join(lines)}
        with contextlib.suppress(UserError):  # An error of writing it was already reported.
            texts["sample"] = read_text_file(self.run.path / "sample.txt")
        self._attempt(lambda: self.report(summary.iterations, values, texts))
        self._has_finished = True

    def close(self) -> None:
        """Deliver everything; this may take a while."""
        if self._is_open:
            self._attempt(lambda: self.finish(is_finished=self._has_finished))

    def _log_rows(self, trainer: Trainer) -> None:
        since = trainer.state.iteration if self._is_open else 0
        if not self._is_open:
            log.info(f"{self.name}: to view this run: {self.open()}")
            self._is_open = True
        documented = _documented(self.run)
        for iteration, values in rows(trainer.state, since=since).items():
            texts = {"sample": values.pop("sample")} if "sample" in values else {}
            self.log(iteration, values | (documented if "val" in values else {}), texts)

    def _attempt(self, call: Callable[[], None]) -> None:
        """Call the library, unless it has failed before; its output is kept apart from the results of the command."""
        if self.is_off:
            return
        try:
            with contextlib.redirect_stdout(sys.stderr):
                call()
        except Exception as error:  # Libraries raise errors of all kinds.
            self.is_off = True
            log.warning(f"{self.name} failed, and the run continues without it: {' '.join(str(error).split())}")


def _documented(run: RunFolder) -> dict[str, float]:
    """The documented losses, by the names of values."""
    losses = run.documented()
    of_batch = {"batch": losses.train}
    found = of_batch if losses.kind == "mini-batch" else {"train": losses.train, "val": losses.val}
    return {f"documented_{of}": loss for of, loss in found.items() if loss is not None}
