"""The one reader of text files: whole texts, and records within them, each with its file and line."""

import codecs
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Generic, NamedTuple, TypeVar

from pydantic import Field

from gpt.base.errors import RequestError, UnavailableError

T = TypeVar("T")
Encoding = Annotated[str, Field(pattern=r"^[\w.-]+$", max_length=40)]

IN_MEMORY = 2**24  # bytes of a text
_SIGNS = {
    "a PNG picture": b"\x89PNG",
    "a JPEG picture": b"\xff\xd8\xff",
    "a PDF": b"%PDF",
    "a ZIP archive": b"PK\x03\x04",
    "a gzip archive": b"\x1f\x8b",
}


class FileRecord(NamedTuple, Generic[T]):
    """A line, a row or a value of a file, and where it begins."""

    content: T
    file: Path
    line: int  # from 1

    @property
    def place(self) -> str:
        """The place in words, with which an error begins."""
        return f"line {self.line} of {self.file}"


def read_texts(files: Sequence[Path], encoding: str | None = None, errors: str = "strict") -> list[str]:
    """The text of each file without a byte order mark, line ends unchanged, in any encoding that Python knows.

    None is UTF-8, where the user cannot set data.encoding. `errors`, as in `bytes.decode`, can allow bytes that are
    not UTF-8. Raises RequestError if a file is missing, not a regular one or not in this encoding, or if all are empty.
    """
    texts = [_decoded(file, encoding, errors) for file in files]
    if not any(texts):
        raise RequestError(f"{files[0]} is empty")
    return texts


def read_text(file: Path, encoding: str | None = None, errors: str = "strict") -> str:
    """The text of one file, as in `read_texts`."""
    return read_texts([file], encoding, errors)[0]


def read_lines(file: Path, encoding: str | None = None) -> Iterator[FileRecord[str]]:
    """The lines of a file, as in `lines_of`."""
    lines = lines_of(read_text(file, encoding))
    return (FileRecord(line, file, number) for number, line in enumerate(lines, start=1))


def lines_of(content: str) -> list[str]:
    """The lines of a text with Unix or Windows line endings. No other character ends a line."""
    return [line.removesuffix("\r") for line in content.removesuffix("\n").split("\n")]


def size_of(file: Path) -> int:
    """The bytes in a file. Raises RequestError for anything but a regular file: a pipe might never end or answer."""
    with _reading(file):
        state = file.stat()
    if not stat.S_ISREG(state.st_mode):
        raise RequestError(f"{file} is not a file")
    return state.st_size


def read_bytes(file: Path, start: int, end: int) -> bytes:
    """The bytes from start to end; fewer if the file is shorter. Raises RequestError if it is unreadable."""
    with _reading(file), file.open("rb") as opened:
        opened.seek(start)
        return opened.read(end - start)


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise UnavailableError(f"there is no file {file}") from None
    except OSError as error:
        raise RequestError(f"cannot read {file}: {error.strerror}") from None


def not_text(file: Path, line: int, encoding: str | None = None) -> RequestError:
    """The error that a file is not text in an encoding, as in `read_texts`."""
    beginning = read_bytes(file, 0, max(map(len, _SIGNS.values())))
    if kind := next((kind for kind, sign in _SIGNS.items() if beginning.startswith(sign)), None):
        return RequestError(f"{file} is {kind}: leave it out with a pattern, as in data.path='FOLDER/**/*.txt'")
    if encoding not in (None, "utf-8"):
        return RequestError(f"{file} is not text in data.encoding={encoding}: see line {line}")
    remedy = "name its encoding, as in data.encoding=cp1252" if encoding else "convert it to UTF-8"
    return RequestError(f"{file} is not UTF-8 text in line {line}: {remedy}")


def _decoded(file: Path, encoding: str | None, errors: str) -> str:
    content = read_bytes(file, 0, size_of(file)).removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode(encoding or "utf-8", errors if encoding in (None, "utf-8") else "strict")
    except LookupError:
        raise RequestError(f"data.encoding={encoding} is not known: use utf-8, utf-16, latin-1, cp1252, ...") from None
    except UnicodeError as error:
        raise not_text(file, 1 + content.count(b"\n", 0, getattr(error, "start", 0)), encoding) from None
