"""The lock of a run folder: one process at a time writes it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from gpt.base.errors import UnavailableError

_LOOK = 0.1  # seconds: longer than `is_taken` holds a lock


class FolderLock:
    """A lock on the folder at `path`. The system releases it if its process dies."""

    def __init__(self, path: Path) -> None:
        self._folder, self._path = path, path / ".lock"
        self._is_held = False

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from writing the folder. Raises UnavailableError if one of them holds the lock."""
        lock = FileLock(self._path)
        try:
            lock.acquire(timeout=_LOOK, poll_interval=_LOOK / 10)
        except Timeout:
            raise UnavailableError(f"another process is writing {self._folder}") from None
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
            lock.release()

    def is_taken(self) -> bool:
        """Whether another process is writing the folder."""
        if self._is_held or not self._path.exists():
            return False
        try:
            with self.held():
                return False
        except UnavailableError:
            return True
        except OSError:  # This user may not write the folder.
            return False
