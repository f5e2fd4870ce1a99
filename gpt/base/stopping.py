"""Signals: a run stops between two iterations and saves a checkpoint."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import ClassVar

from gpt.base.errors import Ending, UserError, printable

# Ctrl-C; the default of kill and container engines; a closed terminal; what schedulers send before preemption.
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]
# For a job that submitit started on a cluster. SIGTERM alone does not say whether the job is pre-empted or cancelled;
# SIGUSR2 asks submitit, in its own handler, to requeue the job.
_REQUEUE = getattr(signal, "SIGUSR2", signal.SIGTERM)  # Windows, which has no clusters, lacks it
_SIGNALS_OF_CLUSTER = [signal.SIGINT, signal.SIGTERM, _REQUEUE]

_PARENT = "GPT_SWEEP_PROCESS"
_REPEATS = 1.0  # seconds within which a repeated signal is the same request
_POLL, _GRACE = 0.5, 30.0  # seconds between checks on the parent, and seconds to save once it is gone
_IMPORT_POLL = 0.02  # seconds between checks on an import


class Stopped(BaseException):
    """The user or the system asked to stop. The exit code is 130 after SIGINT, otherwise 143.

    Like KeyboardInterrupt, this is not an error: code that handles errors must not catch it.
    """

    ending: ClassVar[Ending] = "paused"

    def __init__(self, number: int, message: str = "stopped") -> None:
        super().__init__(message)
        self.number = number
        self.exit_code = 130 if number == signal.SIGINT else 143


class Stop:
    """Turns signals into `Stopped`: at once, or, inside `deferred`, by setting `requested` for the caller to check.

    A second signal is never deferred. Within a second of the first one it counts as the same request, because a
    launcher may deliver one stop twice. A cluster repeats its signal until the grace period ends, and then kills.
    During an import, `Stopped` waits for its end: few libraries survive an exception there.
    """

    def __init__(self) -> None:
        self.requested: int | None = None  # the signal's number
        self._received = 0.0  # time of its arrival, by the monotonic clock
        self._deferred = False
        self._imports: int | None = None  # of the caller of `listening`; None outside it

    @contextlib.contextmanager
    def listening(self) -> Iterator["Stop"]:
        """Handle the signals. Outside the main thread, where Python cannot do that, nothing changes."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        self._imports = _imports(sys._getframe())
        numbers = _SIGNALS_OF_CLUSTER if _is_on_cluster() else _SIGNALS
        # Under nohup, SIGHUP is ignored and must stay ignored.
        listened = [
            number for number in numbers if signal.getsignal(number) != signal.SIG_IGN or number == signal.SIGINT
        ]
        before = {number: signal.signal(number, self._receive) for number in listened}
        try:
            yield self
        except Stopped as stopped:
            if _is_on_cluster() and self.requested not in (signal.SIGINT, _REQUEUE):
                # After SIGTERM alone, the cluster kills the job or sends SIGUSR2 as well. A job that exits by itself
                # would count as done and would not be requeued.
                print(printable(f"{stopped}; waiting for the cluster"), file=sys.stderr, flush=True)
                while self.requested != _REQUEUE:
                    time.sleep(_POLL)
            raise
        finally:
            self._imports = None
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Defer the first signal: it only sets `requested`."""
        before, self._deferred = self._deferred, True
        try:
            yield
        finally:
            self._deferred = before

    def check(self) -> None:
        """Raise Stopped if a signal was received. Long work that can be abandoned calls this between its parts."""
        if self.requested is not None:
            raise Stopped(self.requested)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        global _signalled
        _signalled, now = True, time.monotonic()
        if self.requested is None:
            self.requested, self._received = number, now
            if self._deferred:
                return
            if self._imports is not None and _imports(frame) > self._imports:
                threading.Thread(target=self._repeat_after_import, daemon=True).start()
                return
        elif _is_on_cluster() and number != signal.SIGINT:
            self.requested = _REQUEUE if number == _REQUEUE else self.requested
            return
        elif now - self._received < _REPEATS:
            return
        raise Stopped(number)

    def _repeat_after_import(self) -> None:
        """Send the signal again once the main thread has left the import; meanwhile, a second one is not deferred."""
        main, number = threading.main_thread().ident or 0, self.requested or 0
        while self._imports is not None:
            if _imports(sys._current_frames().get(main)) <= self._imports:
                self.requested = None
                os.kill(os.getpid(), number)
                return
            time.sleep(_IMPORT_POLL)


def _imports(frame: FrameType | None) -> int:
    """How many calls of the import system a frame is in."""
    count = 0
    while frame is not None:
        count += frame.f_code.co_filename == "<frozen importlib._bootstrap>"
        frame = frame.f_back
    return count


def _is_on_cluster() -> bool:
    return "SUBMITIT_EXECUTOR" in os.environ


@contextlib.contextmanager
def requeued() -> Iterator[None]:
    """Wrap a job: on a cluster, submitit requeues a stopped job and ends this process.

    Raises UserError if submitit refuses.
    """
    try:
        yield
    except Stopped as stopped:
        if not _is_on_cluster() or stopped.number == signal.SIGINT:
            raise
        print(printable(str(stopped)), file=sys.stderr, flush=True)
        try:
            signal.raise_signal(_REQUEUE)
        except (RuntimeError, subprocess.SubprocessError) as error:  # too many time limits; no answer from Slurm
            raise UserError(f"{stopped}; {error}") from error
        sys.exit()  # This is not the first task, which requeues all of them: a failure here must not end it.


def start() -> None:
    """Until a job begins, print a line and exit at once on a signal: Hydra would wrap an exception."""
    for number in _SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _leave)


def begin_job() -> None:
    """From here on, Ctrl-C raises KeyboardInterrupt, so that what a job has opened is closed."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if _imports(frame):  # few libraries survive an exception there, and nothing is open yet
        _leave(number, frame)
    raise KeyboardInterrupt


def _leave(number: int, _: FrameType | None) -> None:
    line = "interrupted" if number == signal.SIGINT else "stopped"
    os.write(2, f"{line}\n".encode())  # print() itself may have been interrupted
    os._exit(Stopped(number).exit_code)


REPEAT = "stopped; to resume the sweep, repeat the command with resume=auto and its hydra.sweep.dir=DIR"


def start_sweep(farewell: str) -> None:
    """Prepare the process that starts a sweep: name it to the workers, and exit at once on a signal.

    The workers then stop as `within_sweep` describes. A job in this process handles signals itself.
    """

    def leave(number: int, _: FrameType | None) -> None:
        print(farewell, file=sys.stderr, flush=True)
        os._exit(Stopped(number).exit_code)

    os.environ[_PARENT] = str(os.getpid())
    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, leave)


@contextlib.contextmanager
def within_sweep() -> Iterator[None]:
    """Wrap a job of a parallel sweep: once the parent has exited, the job stops as on a signal, and its worker ends.

    Raises Stopped if the parent has already exited.
    """
    parent = int(os.environ.get(_PARENT, os.getpid()))
    if parent == os.getpid():
        yield
        return
    follow(parent)
    try:
        if os.getppid() != parent:
            raise Stopped(signal.SIGTERM, "the process that started the sweep has exited")
        yield
    finally:
        if os.getppid() != parent:  # This worker would wait forever for its next job.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(128 + signal.SIGTERM)


def follow(parent: int) -> None:
    """Stop as on a signal once the parent of this process has exited, however it ended."""
    if _watching.acquire(blocking=False):
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL)
    if not _signalled:  # A second signal would end the job before it has saved.
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE)
    os._exit(128 + signal.SIGTERM)


_watching = threading.Lock()  # held as soon as a thread watches
_signalled = False  # whether this process has received a signal
