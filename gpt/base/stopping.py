"""Signals: a run stops between two iterations and saves a checkpoint."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

# Ctrl-C; the default of kill and container engines; a closed terminal; what schedulers send before preemption.
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]
_parent: int | None = None  # the process that this one ends with


class Stopped(BaseException):
    """The user or the system asked to stop. The exit code is 130 after SIGINT, otherwise 143.

    Like KeyboardInterrupt, this is not an error: code that handles errors must not catch it.
    """

    def __init__(self, number: int, message: str = "stopped") -> None:
        super().__init__(message)
        self.number = number
        self.exit_code = 130 if number == signal.SIGINT else 143


class Stop:
    """A request to stop, which the training loop reads between two steps."""

    def __init__(self) -> None:
        self.received: int | None = None  # the signal's number

    @property
    def requested(self) -> int | None:
        """The number of the signal that asked to stop, if any; SIGTERM once the parent that is followed has exited."""
        is_alone = _parent is not None and os.getppid() != _parent
        return self.received or (signal.SIGTERM if is_alone else None)

    def check(self) -> None:
        """Raise Stopped if it was requested. Long work that can be abandoned calls this between its parts."""
        if self.requested is not None:
            raise Stopped(self.requested)


@contextlib.contextmanager
def listening() -> Iterator[Stop]:
    """Let the first signal request a stop; a second one has its usual effect, which ends the process.

    A signal that is ignored, as under nohup, or that another handler serves, as on a cluster, is left alone. Outside
    the main thread, where Python cannot handle signals, nothing changes.
    """
    stop, before = Stop(), {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in _SIGNALS}
    before = {number: it for number, it in before.items() if it in (signal.SIG_DFL, signal.default_int_handler)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def receive(number: int, _: FrameType | None) -> None:
        stop.received = number
        restore()

    for number in before:
        signal.signal(number, receive)
    try:
        yield stop
    finally:
        restore()


@contextlib.contextmanager
def following(parent: int) -> Iterator[None]:
    """Wrap the work of a process that ends with its parent: once that has exited, a training in it stops."""
    global _parent
    _parent = parent
    try:
        yield
    finally:
        if os.getppid() != parent:  # A worker of joblib would wait for its next job.
            os._exit(Stopped(signal.SIGTERM).exit_code)
