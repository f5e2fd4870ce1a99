"""Trackers: loggers that send a run's records to a separate process (gpt/watching/tracker_process.py).

All records are in the training state and its checkpoints. So a resumed run sends them again from iteration 0 on, and
the tracker replaces its copies: nothing is missing, and nothing from after the checkpoint remains.
"""

import contextlib
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import IO, TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from gpt.base.errors import UserError
from gpt.base.files import read_text_file
from gpt.runs.folder import RunFolder
from gpt.runs.records import Summary
from gpt.watching.loggers import RunWatcher, rows, samples
from gpt.watching.tracker_process import Sink

if TYPE_CHECKING:  # a tracker's process imports this module without torch
    from gpt.training.state import TrainingState

Project = Annotated[str, Field(pattern=r"^[\w-]+$", max_length=60)]

_PACKAGE_ROOT = Path(__file__).parent.parent.parent
_PATIENCE = 5.0  # seconds that a run waits for its tracker at the end
_MAX_SHARE = 0.01  # the share of the run's time that it waits instead, if that is longer

log = logging.getLogger(__name__)


class Tracker(RunWatcher):
    """Starts the process at the first evaluation or step, sends it records, and waits for it at the end.

    If the process fails, the run logs one warning and continues without it. A subclass names the sink that stores the
    records. The process imports the subclass's module, so that should import a library only inside functions.
    """

    sink: ClassVar[type[Sink]]
    package: ClassVar[str | None] = None  # the library that it needs; also the name of the extra that installs it

    def __init__(self, run: RunFolder, **options: Any) -> None:
        self._run, self._options = run, options
        self._name = type(self).__module__.rpartition(".")[2]
        self._is_due = False  # whether something was recorded in this iteration
        self._messages: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._documented: dict[str, float] = {}
        self._process: subprocess.Popen[str] | None = None
        self._is_off = False  # it has failed, or is not wanted
        self._started = 0.0  # by time.monotonic()

    def evaluated(self, state: "TrainingState") -> None:  # noqa: ARG002
        """Mark that there is a record to send."""
        self._is_due = True

    def stepped(self, state: "TrainingState") -> None:
        """Mark that there is a record to send, if the step was recorded."""
        recorded = [step.iteration for step in state.progress.steps[-1:]]
        self._is_due |= recorded == [state.progress.iteration]

    def between_steps(self, state: "TrainingState", is_last: bool) -> None:  # noqa: ARG002
        """Send the row of this iteration or, the first time, all rows so far."""
        if not self._is_due or self._is_off:
            return
        self._is_due, since = False, state.progress.iteration
        if self._process is None:
            since = 0
            self._start()
        found = samples(state.progress, since=since)
        for iteration, values in rows(state.progress, since=since).items():
            values |= self._documented if "loss/val" in values else {}
            texts = {"sample": found[iteration]} if iteration in found else {}
            self._messages.put({"step": iteration, "values": values, "texts": texts, "is_finished": False})

    def finished(self, state: "TrainingState") -> None:
        """Send all rows if none has been sent: a resumed run may have nothing left to train."""
        if self._process is None:
            self._is_due = True
            self.between_steps(state, is_last=True)

    def reported(self, summary: Summary, lines: list[str]) -> None:
        """Send the results."""
        values = {"loss/exact_val": summary.exact.nats, "loss/best_val": summary.best.nats}
        texts = {"report": "\n".join(lines)}
        with contextlib.suppress(UserError):  # An error of writing it was already reported.
            texts["sample"] = read_text_file(self._run.path / "sample.txt")
        self._messages.put({"step": summary.iterations, "values": values, "texts": texts, "is_finished": True})

    def close(self) -> None:
        """Wait briefly for the process; it can deliver the rest in the background."""
        if self._process is None:
            return
        self._messages.put(None)
        self._listener.join(max(_PATIENCE, _MAX_SHARE * (time.monotonic() - self._started)))
        if self._feeder.is_alive():
            self._warn("it was too slow and has been stopped")
            self._process.kill()
        elif self._listener.is_alive():
            log.info(f"{self._name} is still delivering; process {self._process.pid} continues in the background")

    def _start(self) -> None:
        self._started = time.monotonic()
        path = os.pathsep.join(filter(None, (str(_PACKAGE_ROOT), os.environ.get("PYTHONPATH"))))
        try:
            config, losses, tracking_id = self._run.config(), self._run.documented(), self._run.tracking_id()
            kind = type(self)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "gpt.watching.tracker_process", kind.__module__, kind.__name__],
                env=os.environ | {"PYTHONPATH": path},
                start_new_session=True,  # Ctrl-C is meant for the training
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
            )
        except (OSError, ValueError, UserError) as error:  # ValueError: a path that is not UTF-8
            self._warn(str(error))
            return
        of_batch = {"batch": losses.train}
        documented = of_batch if losses.kind == "mini-batch" else {"train": losses.train, "val": losses.val}
        self._documented = {f"loss/documented_{of}": loss for of, loss in documented.items() if loss is not None}
        self._messages.put(
            {
                "tracker": self._name,
                "id": tracking_id,
                "name": self._run.path.name,
                "folder": str(self._run.path),
                "config": config.content(),
                "options": self._options,
            }
        )
        self._feeder = Thread(target=self._feed, args=(self._process.stdin,), daemon=True)
        self._listener = Thread(target=self._listen, args=(self._process, self._process.stdout), daemon=True)
        self._feeder.start()
        self._listener.start()

    def _feed(self, pipe: IO[str]) -> None:
        """Write the messages, in a thread because writing blocks once the pipe of a slow process is full."""
        with contextlib.suppress(OSError), pipe:  # A process that has ended has reported why.
            for message in iter(self._messages.get, None):
                pipe.write(json.dumps(message) + "\n")
                pipe.flush()

    def _listen(self, process: subprocess.Popen[str], pipe: IO[str]) -> None:
        for line in pipe:
            answer = json.loads(line)
            if "address" in answer:
                log.info(f"{self._name}: to view this run: {answer['address']}")
            else:
                self._warn(answer["problem"])
        if process.wait():
            self._warn(f"its process ended with code {process.returncode}")

    def _warn(self, reason: str) -> None:
        if not self._is_off:
            self._is_off = True
            log.warning(f"{self._name} failed, and the run continues without it: {' '.join(reason.split())}")
