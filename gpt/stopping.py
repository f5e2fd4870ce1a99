"""Signals: a run stops between two iterations and saves a checkpoint."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

# Ctrl-C; the default of kill and container engines; a closed terminal; what schedulers send before preemption.
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]
# submitit handles a scheduler's signals itself: it requeues the job, which then resumes.
_UNDER_SUBMITIT = [signal.SIGINT]


_PARENT = "GPT_SWEEP_PROCESS"
_REPEATS = 1.0  # seconds in which a repeated signal is the same request
_POLL, _GRACE = 0.5, 30.0  # seconds between checks on the parent, and seconds to save once it is gone


class Stopped(BaseException):
    """The user or the system asked to stop. The exit code is 130 after SIGINT, and else 143.

    Like KeyboardInterrupt, this is no error: code that handles errors must not catch it.
    """

    def __init__(self, number: int, message: str = "stopped") -> None:
        super().__init__(message)
        self.number = number
        self.exit_code = 130 if number == signal.SIGINT else 143


class Stop:
    """Turns signals into `Stopped`: at once, or, inside `deferred`, by setting `requested` for the caller to check.

    A second signal is never deferred, but for a second after the first one it is taken for the same request: a launcher
    and its process group, or a launcher that repeats itself, deliver one stop twice.
    """

    def __init__(self) -> None:
        self.requested: int | None = None  # the signal's number
        self._received = 0.0  # when, by the monotonic clock
        self._deferred = False

    @contextlib.contextmanager
    def listening(self) -> Iterator["Stop"]:
        """Handle the signals. Outside the main thread, where Python cannot do that, nothing changes."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        numbers = _UNDER_SUBMITIT if "SUBMITIT_EXECUTOR" in os.environ else _SIGNALS
        # Under nohup, SIGHUP is ignored and must stay ignored.
        listened = [
            number for number in numbers if signal.getsignal(number) != signal.SIG_IGN or number == signal.SIGINT
        ]
        before = {number: signal.signal(number, self._receive) for number in listened}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, a first signal only sets `requested`."""
        with self._set(True):
            yield

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Raise at once again inside `deferred`, for long work that is safe to abort because it has no side effects."""
        with self._set(False):
            if self.requested is not None:
                raise Stopped(self.requested)
            yield

    @contextlib.contextmanager
    def _set(self, deferred: bool) -> Iterator[None]:
        before, self._deferred = self._deferred, deferred
        try:
            yield
        finally:
            self._deferred = before

    def _receive(self, number: int, _: FrameType | None) -> None:
        global _signalled
        _signalled, now = True, time.monotonic()
        if self.requested is None:
            self.requested, self._received = number, now
            if self._deferred:
                return
        elif now - self._received < _REPEATS:
            return
        raise Stopped(number)


def start_sweep() -> None:
    """In the process that starts a sweep: let worker processes know it, and leave at once on a signal.

    The workers then stop as `within_sweep` says. A job in this process handles signals itself.
    """
    os.environ[_PARENT] = str(os.getpid())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _leave)


def _leave(number: int, _: FrameType | None) -> None:
    print("stopped; to resume the sweep, repeat the command with resume=auto and its hydra.sweep.dir=DIR",
          file=sys.stderr, flush=True)  # fmt: skip
    os._exit(Stopped(number).exit_code)


@contextlib.contextmanager
def within_sweep() -> Iterator[None]:
    """Around a job of a parallel sweep: once the parent is gone, the job stops, as by a signal, and its worker ends.

    Raises Stopped if the parent is gone already.
    """
    parent = int(os.environ.get(_PARENT, os.getpid()))
    if parent == os.getpid():
        yield
        return
    if _watching.acquire(blocking=False):
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    try:
        if os.getppid() != parent:
            raise Stopped(signal.SIGTERM, "the process that started the sweep is gone")
        yield
    finally:
        if os.getppid() != parent:  # else this worker would wait for a job that nobody can give it
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(128 + signal.SIGTERM)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL)
    if not _signalled:  # a second signal would end the job before it has saved
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE)
    os._exit(128 + signal.SIGTERM)


_watching = threading.Lock()  # held once a thread watches
_signalled = False  # whether this process has received a signal
