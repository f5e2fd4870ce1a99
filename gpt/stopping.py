"""Signals: a run stops between two iterations and saves a checkpoint."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

# Ctrl-C; the default of kill and container engines; a closed terminal; what schedulers send before preemption.
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]
# submitit handles a scheduler's signals itself: it requeues the job, which then resumes.
_UNDER_SUBMITIT = [signal.SIGINT]


_PARENT = "GPT_SWEEP_PROCESS"
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

    A second signal is never deferred.
    """

    def __init__(self) -> None:
        self.requested: int | None = None  # the signal's number
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
        is_second, self.requested = self.requested is not None, number
        if is_second or not self._deferred:
            raise Stopped(number)


def announce_parent() -> None:
    """Let the worker processes of a parallel sweep know which process started it."""
    os.environ[_PARENT] = str(os.getpid())


def stop_with_parent() -> None:
    """In a worker process, stop the job, as a signal would, once the parent has ended for any reason.

    Raises Stopped if it is gone already.
    """
    parent = int(os.environ.get(_PARENT, os.getpid()))
    if parent == os.getpid():
        return
    if os.getppid() != parent:
        raise Stopped(signal.SIGTERM, "the process that started the sweep is gone")
    if _watching.acquire(blocking=False):
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE)
    os._exit(128 + signal.SIGTERM)


_watching = threading.Lock()  # held once a thread watches
