"""The one reader of text files: whole texts, and records within them, each with its file and line."""

import codecs
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from pydantic import Field

from gpt.base.errors import RequestError, UnavailableError

Encoding = Annotated[str, Field(pattern=r"^[\w.-]+$", max_length=40)]

PIECE = 2**17  # bytes that are read at a time; with larger ones, memory fragments
_ENDING = 2**16  # bytes at the end of a ZIP archive, where the names of its files are
# What a file is that is no text: how it begins, what a ZIP archive has in it, and what to do.
_SIGNS = {
    "a PDF": (b"%PDF", b"", "extract its text first, as in pdftotext FILE"),
    "a Word file": (b"PK\x03\x04", b"word/document.xml", "save it as plain text first"),
    "an Excel file": (b"PK\x03\x04", b"xl/workbook.xml", "save it as CSV first"),
    "a ZIP archive": (b"PK\x03\x04", b"", "unpack it first"),
    "a gzip archive": (b"\x1f\x8b", b"", "unpack it first"),
    "a Parquet file": (b"PAR1", b"", "name it so, as in FILE.parquet"),
}


def read_texts(files: Sequence[Path], encoding: str | None = None, errors: str = "strict") -> list[str]:
    """The text of each file without a byte order mark, line ends unchanged, in any encoding that Python knows.

    None is UTF-8, where the user cannot set data.encoding. `errors`, as in `bytes.decode`, can allow bytes that are
    not UTF-8. Raises RequestError if a file is missing, not a regular one or not in this encoding, or if all are empty.
    """
    texts = ["".join(decoded(file, encoding, errors)) for file in files]
    if not any(texts):
        raise RequestError(f"{files[0]} is empty")
    return texts


def read_text(file: Path, encoding: str | None = None, errors: str = "strict") -> str:
    """The text of one file, as in `read_texts`."""
    return read_texts([file], encoding, errors)[0]


def read_lines(file: Path, encoding: str | None = None) -> Iterator[tuple[str, str]]:
    """The lines of a file, as in `lines_of`, each after its place in words."""
    lines = lines_of(read_text(file, encoding))
    return ((f"line {number} of {file}", line) for number, line in enumerate(lines, start=1))


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
    """The bytes from start to end; fewer if the file is shorter. Raises RequestError as `size_of` does."""
    size = size_of(file)
    with _reading(file), file.open("rb") as opened:
        opened.seek(start)
        return opened.read(min(end, size) - start)


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise UnavailableError(f"there is no file {file}") from None
    except OSError as error:
        raise RequestError(f"cannot read {file}: {error.strerror}") from None


def not_text(file: Path, encoding: str | None = None) -> RequestError | None:
    """The error that a file is no text, by its signature or because it has U+0000 in UTF-8; None if it may be one."""
    beginning = read_bytes(file, 0, _ENDING)
    for kind, (sign, inside, advice) in _SIGNS.items():
        if beginning.startswith(sign) and inside in read_bytes(file, max(0, size_of(file) - _ENDING), size_of(file)):
            return RequestError(f"{file} is {kind}: {advice.replace('FILE', str(file))}")
    if beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return None if _is_wide(encoding) else RequestError(f"{file} is UTF-16 text: add data.encoding=utf-16")
    return _with_null(file) if b"\0" in beginning and not _is_wide(encoding) else None


def _is_wide(encoding: str | None) -> bool:
    return "16" in str(encoding) or "32" in str(encoding)


def _with_null(file: Path) -> RequestError:
    return RequestError(f"{file} has U+0000, which no text has: if it is UTF-16, add data.encoding=utf-16")


def not_decoded(file: Path, line: int, encoding: str | None = None) -> RequestError:
    """The error that a file is not text in an encoding, as in `read_texts`."""
    if error := not_text(file, encoding):
        return error
    if encoding not in (None, "utf-8"):
        return RequestError(f"{file} is not text in data.encoding={encoding}: see line {line}")
    remedy = "name its encoding, as in data.encoding=cp1252" if encoding else "convert it to UTF-8"
    return RequestError(f"{file} is not UTF-8 text in line {line}: {remedy}")


def decoded(
    file: Path, encoding: str | None = None, errors: str = "strict", start: int = 0, end: int | None = None
) -> Iterator[str]:
    """The text of a file, or of its bytes from start to end, in pieces. For the rest, see `read_texts`."""
    try:
        " ".encode(encoding or "utf-8")  # refuses codecs that are none of text, such as hex
        make_decoder = codecs.getincrementaldecoder(encoding or "utf-8")
    except LookupError:
        raise RequestError(f"data.encoding={encoding} is not known: use utf-8, utf-16, latin-1, cp1252, ...") from None
    decoder = make_decoder(errors if encoding in (None, "utf-8") else "strict")
    line, end = 1, size_of(file) if end is None else end
    for first in range(start, end, PIECE):
        piece = read_bytes(file, first, min(first + PIECE, end))
        try:
            text = decoder.decode(piece if first else piece.removeprefix(codecs.BOM_UTF8), first + PIECE >= end)
        except UnicodeError as error:
            content, place = getattr(error, "object", b""), getattr(error, "start", 0)
            raise not_decoded(file, line + content.count(b"\n", 0, place), encoding) from None
        if "\0" in text:
            raise not_text(file, encoding) or _with_null(file)
        line += text.count("\n")
        yield text
