"""The process of a tracker: `python -m gpt.watching.tracker_process MODULE TRACKER`.

A tracker works in a separate process, so that its library cannot slow or end the training by waiting for a network,
printing or failing. In a thread, wandb holds up the end of a run for more than a minute if its server does not answer,
and a killed run loses its undelivered records.

gpt/watching/trackers.py writes one JSON object per line to it, first the run, then records until the input ends. It
answers with lines of `{"address": ...}` or `{"problem": ...}`.
"""

import contextlib
import importlib
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from filelock import FileLock

_TO_DELIVER = 600.0  # seconds after the end of the run or its process, even if the library still waits


class Run(NamedTuple):
    """The run to record."""

    id: str  # stays the same when the run is resumed or its folder is moved or renamed
    name: str
    folder: Path
    config: dict[str, Any]
    options: dict[str, Any]  # of the tracker


class Sink(Protocol):
    """Where a tracker's process stores the records it receives.

    The constructor opens the tracker's record of the run. After a resume, all rows since iteration 0 are logged again;
    older values must be removed or replaced, so that each value is there once.
    """

    address: str  # where to view the run

    def __init__(self, run: Run) -> None: ...

    def log(self, step: int, values: dict[str, float], texts: dict[str, str]) -> None:
        """Record the values of an iteration, and its texts; iterations come in ascending order, each once."""

    def report(self, step: int, values: dict[str, float], texts: dict[str, str]) -> None:
        """Record the results of a run that has finished."""

    def close(self, is_finished: bool) -> None:
        """Deliver everything."""


def main(module: str, tracker: str) -> None:
    """Serve one run with the tracker of this module and name."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1, encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries print to standard output
    for number in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"):  # for the training; its end also ends this process
        if hasattr(signal, number):
            signal.signal(getattr(signal, number), signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(10)  # lower priority than the training

    def answer(kind: str, text: str) -> None:
        with contextlib.suppress(OSError):  # the training may have ended before this process was ready
            print(json.dumps({kind: text}), file=answers)

    try:
        first = json.loads(sys.stdin.readline())
        folder, name = Path(first.pop("folder")), first.pop("tracker")
        with FileLock(folder / f".{name}.lock"):  # The tracker of a killed process may still be at work.
            sink: Sink = getattr(importlib.import_module(module), tracker).sink(Run(folder=folder, **first))
            answer("address", sink.address)
            is_finished = False
            for line in sys.stdin:
                if not line.endswith("\n"):  # The training was killed while it wrote this.
                    break
                message = json.loads(line)
                is_finished = message.pop("is_finished")
                (sink.report if is_finished else sink.log)(**message)
            deadline = threading.Timer(_TO_DELIVER, os._exit, (1,))
            deadline.daemon = True
            deadline.start()
            sink.close(is_finished)
    except Exception as error:
        answer("problem", str(error) or type(error).__name__)
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
