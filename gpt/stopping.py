"""Signals: a run stops between two iterations, after everything has been saved."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from gpt.errors import UserError

# Ctrl-C; what kill and container engines send; what schedulers send ahead of a pre-emption.
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]
# submitit handles a scheduler's signals itself: it requeues the job, which then resumes.
_UNDER_SUBMITIT = [signal.SIGINT]


class Stopped(UserError):  # noqa: N818 - not an error
    """The user or the system asked to stop. The exit code is the shell's for that signal: 130 or 143."""

    def __init__(self, number: int, message: str = "stopped") -> None:
        super().__init__(message)
        self.number = number
        self.exit_code = 130 if number == signal.SIGINT else 143


class Stop:
    """Turns signals into `Stopped`: at once, or inside `deferred` as a request that the caller looks at.

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
        before = {number: signal.signal(number, self._receive) for number in numbers}
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
        """Inside a deferred part, for long work that can be aborted anywhere because it leaves nothing behind."""
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
