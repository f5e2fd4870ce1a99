"""The lock of a run folder: one process at a time writes it, and only while it is where that process locked it."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from gpt.base.errors import LostFolderError, UnavailableError
from gpt.base.files import checked_file, own_file

_LOOK = 0.1  # seconds: longer than `is_taken` holds a lock

LockId = tuple[int, int]  # the device and inode of a lock file, which is moved with its folder


class FolderLock:
    """A lock on the folder at `path`; that of a process that died is released."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.id: LockId | None = None  # while this process holds it

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from writing the folder. Raises RequestError if one of them holds the lock."""
        lock = FileLock(lock_file(self._path / ".lock"))
        try:
            lock.acquire(timeout=_LOOK, poll_interval=_LOOK / 10)
        except Timeout:
            raise UnavailableError(f"another process is writing {self._path}") from None
        self.id = lock_in(self._path)
        try:
            yield
        finally:
            self.id = None
            lock.release()

    def is_taken(self) -> bool:
        """Whether another process is writing the folder."""
        if self.id is not None or lock_in(self._path) is None:
            return False
        try:
            with self.held():
                return False
        except UnavailableError:
            return True
        except OSError:  # of a folder that only others may write
            return False

    def check(self) -> None:
        """Raise LostFolderError if the folder at this path is no longer the one that this process has locked.

        Files are written by their paths, so someone who moves the folder and starts another run at its old path would
        have this process write to that one.
        """
        if self.id is not None:
            check_same(
                self._path, self.id, "if you have moved it, resume=FOLDER continues it from its newest checkpoint"
            )


def check_same(folder: Path, lock: LockId | None, advice: str) -> None:
    """Raise LostFolderError if the lock file in a folder is not the one that was there before."""
    if lock is None or lock_in(folder) != lock:
        raise LostFolderError(
            f"{folder} was moved, replaced or removed while this process was writing it, and nothing more is written: "
            f"{advice}"
        )


def lock_file(path: Path) -> Path:
    """Check a lock file before it is opened, as `own_file` does, and return its path.

    A hard link to an empty file, as in a copy made by `cp -al`, is not replaced: opening it changes nothing, and the
    process that holds the lock would lose it.
    """
    is_empty = os.path.lexists(path) and checked_file(path, sys.maxsize).stat().st_size == 0
    return path if is_empty else own_file(path)


def lock_in(folder: Path) -> LockId | None:
    """The lock file in a folder; None if there is none."""
    try:
        found = (folder / ".lock").lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino
