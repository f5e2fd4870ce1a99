"""The process of a tracker: it reads one JSON object per line, first the run, then records until the input ends.

It answers with lines of `{"address": ...}` or `{"problem": ...}`.
"""

import contextlib
import importlib
import json
import os
import signal
import sys
import threading
from pathlib import Path

from filelock import FileLock

from gpt.watching.processes import Run, Sink

_DEADLINE = 600.0  # seconds to deliver everything after the end of the run


def main(module: str, tracker: str) -> None:
    """Serve one run with the tracker of this module and name."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1, encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries print to standard output
    for number in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"):  # for the training, whose end also ends this process
        if hasattr(signal, number):
            signal.signal(getattr(signal, number), signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(10)  # lower priority than the training

    def answer(kind: str, text: str) -> None:
        with contextlib.suppress(OSError):  # the training may have ended before this process was ready
            print(json.dumps({kind: text}), file=answers)

    try:
        first = json.loads(sys.stdin.readline())
        folder = Path(first.pop("folder"))
        name = module.rpartition(".")[2]
        with FileLock(folder / f".{name}.lock"):  # after a kill, the old tracker may not be done yet
            sink: Sink = getattr(importlib.import_module(module), tracker).sink(Run(folder=folder, **first))
            answer("address", sink.address)
            is_finished = False
            for line in sys.stdin:
                if not line.endswith("\n"):  # the training was killed while it wrote this
                    break
                message = json.loads(line)
                is_finished = "texts" in message
                (sink.report if is_finished else sink.log)(**message)
            deadline = threading.Timer(_DEADLINE, os._exit, [1])
            deadline.daemon = True
            deadline.start()
            sink.close(is_finished)
    except Exception as error:
        answer("problem", str(error) or type(error).__name__)
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
