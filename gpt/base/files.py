"""Atomic writes: a file is written under a temporary name, flushed to disk and renamed. Checked reads."""

import contextlib
import hashlib
import logging
import os
import re
import secrets
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from gpt.base.errors import RequestError, UserError, explain, report

_LARGEST, _LONGEST_LINE = 2**26, 2**20  # bytes of a record that is read; of a line in a file of them

log = logging.getLogger(__name__)


def try_write(what: str, write: Callable[[], None], errors: tuple[type[Exception], ...] = (OSError, UserError)) -> bool:
    """Call `write`, and return whether it succeeded; after a failure, log a warning and continue."""
    try:
        write()
    except errors as error:
        reason, _ = report(error) or (str(error), 1)
        log.warning(f"{what} could not be written; the run continues without it: {reason}")
        return False
    return True


def write_atomically(path: Path, content: str | bytes | list[bytes | memoryview]) -> None:
    """Write `path`, so that a reader sees the old file or the new one. Parts of a large file need not be joined."""
    parts = content if isinstance(content, list) else [content.encode() if isinstance(content, str) else content]
    with replacing(path) as file:
        file.writelines(parts)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which becomes `path` at the end: a reader sees the old file or the new one, never a part."""
    temporary = temporary_name(path)
    try:
        with temporary.open("xb") as file:
            yield file
            _flush(file)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            error.filename = str(path)  # the file as the user knows it
        raise
    with contextlib.suppress(OSError):  # The new file is in place, so the write has succeeded.
        flush_folder(path.parent)


def temporary_name(path: Path) -> Path:
    """A temporary name next to `path` for a file that will be renamed to it."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


def is_temporary(name: str) -> bool:
    """Whether `temporary_name` could have made this name."""
    return re.fullmatch(r"\..+\.[0-9a-f]{8}", name) is not None


def write_flushed(path: Path, content: bytes | list[bytes | memoryview]) -> None:
    """Write a new file and flush it to the disk."""
    with path.open("xb") as file:
        file.writelines([content] if isinstance(content, bytes) else content)
        _flush(file)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, where the system supports it."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def check_below_folder(path: Path) -> None:
    """Raise RequestError if a file is in the place of this folder or of one above it."""
    nearest = next(place for place in (path, *path.parents) if os.path.lexists(place))
    if not nearest.is_dir():
        raise RequestError(f"{nearest} is not a folder: choose another place")


def check_output(path: Path, formats: Collection[str]) -> None:
    """Raise RequestError unless `path` ends in one of these formats, such as ".png", and a file can be written there.

    An existing file is replaced, an existing folder is not.
    """
    if path.suffix.lower() not in formats:
        raise RequestError(f"{path} ends in none of the known formats: {', '.join(formats)}")
    if path.is_dir():
        raise RequestError(f"{path} is a folder: give the name of a file")
    check_below_folder(path.parent)


def checked_file(path: Path) -> Path:
    """Check a file of a run folder before it is opened, and return its path.

    Raises UserError if it is absent, or not a regular file: a pipe could block forever.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} is missing: its folder does not hold a complete run") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        raise UserError(f"{path} is not a regular file")
    return path


def read_text_file(path: Path) -> str:
    """A UTF-8 file of a run folder. Raises UserError if it cannot be read, or is too large to be a record."""
    with damaged_as_user_error(path):
        if (size := checked_file(path).stat().st_size) > _LARGEST:
            raise UserError(f"{path} is damaged: it has {size:,} bytes, more than any run writes")
        return path.read_bytes().decode()


def read_lines(path: Path) -> Iterator[str]:
    """The records of a file with one per line, read one at a time. Raises UserError if it cannot be read."""
    with damaged_as_user_error(path), checked_file(path).open(encoding="utf-8", newline="\n") as file:
        yield from file


def read_last_line(path: Path) -> str:
    """The last line of a file, without reading the others. Raises UserError if it cannot be read."""
    with damaged_as_user_error(path), checked_file(path).open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LONGEST_LINE))
        return file.read(_LONGEST_LINE).removesuffix(b"\n").rpartition(b"\n")[2].decode()


@contextlib.contextmanager
def damaged_as_user_error(path: Path) -> Iterator[None]:
    """Turn any error raised inside into a UserError saying that the file at `path` is damaged, or cannot be read."""
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is damaged: it is not UTF-8 text") from None
    except Exception as error:
        if isinstance(error, ValidationError):
            reason = f"{explain(error).partition('; ')[0]} (or an unreleased version of this project wrote it)"
        else:
            reason = f"it cannot be parsed ({error!r:.80})"
        raise UserError(f"{path} is damaged: {reason}") from None


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal. Raises UserError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
