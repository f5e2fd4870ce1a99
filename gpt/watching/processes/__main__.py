"""The process of a tracker: it reads one JSON object per line, first the run, then records until the input ends.

It answers with lines of `{"address": ...}` or `{"problem": ...}`.
"""

import contextlib
import importlib
import json
import os
import select
import signal
import sys
import threading
import time
from pathlib import Path

from filelock import FileLock

from gpt.watching.processes import Run, Sink

# Seconds after the end of the run, or the death of its process: to take what it has sent, and then to deliver it.
_TO_READ, _TO_DELIVER = 60.0, 600.0


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
            is_read = threading.Event()
            threading.Thread(target=_end_in_time, args=(is_read,), daemon=True).start()
            sink: Sink = getattr(importlib.import_module(module), tracker).sink(Run(folder=folder, **first))
            answer("address", sink.address)
            is_finished = False
            for line in sys.stdin:
                if not line.endswith("\n"):  # the training was killed while it wrote this
                    break
                message = json.loads(line)
                is_finished = message.pop("is_finished")
                (sink.report if is_finished else sink.log)(**message)
            is_read.set()
            sink.close(is_finished)
    except Exception as error:
        answer("problem", str(error) or type(error).__name__)
        sys.exit(1)


def _end_in_time(is_read: threading.Event) -> None:
    """End this process some time after the run has ended, whatever its library waits for."""
    if hasattr(select, "poll"):  # not on Windows, where the deadline begins once everything is read
        input_ended = select.poll()
        input_ended.register(sys.stdin, 0)  # reports only that nobody writes any more
        input_ended.poll()
        if not is_read.wait(_TO_READ):
            os._exit(1)
    is_read.wait()
    time.sleep(_TO_DELIVER)
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
