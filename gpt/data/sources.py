"""Text files as one text, which can be read in pieces without holding all of it in memory; and how a text is split."""

import bisect
import hashlib
import itertools
import logging
import os
import random
import re
import stat
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from glob import glob
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field
from tqdm import tqdm

from gpt.base.errors import RequestError, UnavailableError
from gpt.base.typed import expanded, listed

_T = TypeVar("_T")
TrainFraction = Annotated[float, Field(gt=0, lt=1)]
SplitBy = Literal["place", "lines", "files"]
Encoding = Annotated[str, Field(pattern=r"^[\w.-]+$", max_length=40)]

_SIGNS = {
    "a PNG picture": b"\x89PNG",
    "a JPEG picture": b"\xff\xd8\xff",
    "a PDF": b"%PDF",
    "a ZIP archive": b"PK\x03\x04",
    "a gzip archive": b"\x1f\x8b",
}
IN_MEMORY = 2**24  # bytes of a text
_PIECE = 2**17  # bytes that are read at a time; with larger ones, memory fragments
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
CONTINUING = bytes(range(0x80, 0xC0))  # all bytes of a character in UTF-8 but its first one
# Where a word ends for GPT-2 and for the tokenizer of words: before white space, and between a letter or digit and a
# sign. The tokenizer of words counts "_" and combining marks as letters.
_WORD_END = re.compile(r"(?<=\S)(?=[ \t\n\r])|(?<=[^\W_])(?=[!-/:-@[-^`{-~\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f])")
_SHORT_LINE = 20  # characters; verse and dialogues repeat lines of this length anyway
_MUCH = 0.1  # of the characters to validate on
_LONGEST_WORD = 2**12  # bytes
_WORKERS = os.cpu_count() or 1

log = logging.getLogger(__name__)
_SEED = "validation split"  # fixed, so that losses of all runs are over the same text


def paths_of(path: str | Sequence[str]) -> list[str]:
    """The paths in a list, maybe typed as a text: "[a.txt,b]". Raises RequestError if it or a path is empty."""
    if not isinstance(path, str):
        return list(path)
    is_list = path.startswith("[") and path.endswith("]") and not os.path.lexists(path)
    paths = [expanded(each) for each in listed(path)] if is_list else [path]
    if not paths or "" in paths:
        raise RequestError(f"{path} is a list {'with an empty path' if paths else 'without a path'}")
    return paths


def files_of(path: str | Sequence[str]) -> list[Path]:
    """The files that `path` names: a file, all files below a folder, the matches of a pattern, or a list of these.

    Within a folder or a pattern, files are sorted by name and hidden files are left out. Raises UnavailableError for a
    path that names no file.
    """
    try:
        return [file for each in paths_of(path) for file in _files_of(each)]
    except OSError as error:
        raise RequestError(f"cannot read {error.filename}: {error.strerror}") from None


def _files_of(path: str) -> list[Path]:
    is_folder = Path(path).is_dir()
    if is_folder:
        found = list(_below(path))
    elif os.path.lexists(path):
        found = [Path(path)]
    else:
        names = glob(path, recursive=True)  # noqa: PTH207  # Path.glob takes no absolute patterns
        found = sorted(file for file in map(Path, names) if file.is_file())
    if not found:
        raise UnavailableError(f"there is no file {'in ' if is_folder else ''}{path}")
    return found


def _below(folder: str) -> Iterator[Path]:
    """The files below a folder in the order of their paths, part by part; sorting the paths would be slower."""
    with os.scandir(folder) as entries:
        visible = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in visible:
        if entry.is_dir(follow_symlinks=False):
            yield from _below(entry.path)
        elif entry.is_file():
            yield Path(entry.path)


class Source:
    """Files one after another, with a separator between them, as bytes 0 .. size - 1. Byte order marks are left out."""

    def __init__(self, paths: Sequence[Path], separator: bytes = b"", *, has_encoding: bool = False) -> None:
        """`has_encoding`: whether the user can set data.encoding, so that an error advises it.

        Raises RequestError for anything but regular files, which might never end or never answer.
        """
        self.paths, self.separator, self._has_encoding = tuple(paths), separator, has_encoding
        states = [_state(path) for path in paths]
        self.sizes = [state.st_size for state in states]  # in bytes
        listed = [f"{path}\0{s.st_size}\0{s.st_mtime_ns}" for path, s in zip(paths, states, strict=True)]
        described = "\0".join([separator.hex(), *listed]).encode(errors="surrogateescape")
        self.fingerprint = hashlib.sha256(described).hexdigest()  # differs after a file was added, renamed or changed
        self.bytes_in_files = sum(self.sizes)  # with byte order marks, without separators

    @cached_property
    def _marks(self) -> list[int]:
        """The bytes that each file's byte order mark takes."""
        return [3 if _read(path, 0, 3) == _BYTE_ORDER_MARK else 0 for path in self.paths]

    @cached_property
    def starts(self) -> list[int]:
        """Where each file starts in the text, and where another one would."""
        lengths = (size - mark + len(self.separator) for size, mark in zip(self.sizes, self._marks, strict=True))
        return [0, *itertools.accumulate(lengths)]

    @property
    def size(self) -> int:
        """In bytes."""
        return self.starts[-1] - len(self.separator)

    def text(self, errors: str = "strict") -> str:
        """The whole text. Raises RequestError if it is empty or, unless `errors` allows it, not UTF-8."""
        content = self.read(0, self.size)
        if not content:
            raise RequestError(f"{self.paths[0]} is empty")
        try:
            return content.decode(errors=errors)
        except UnicodeDecodeError as error:
            raise self.not_text(error.start) from None

    def read(self, start: int, end: int) -> bytes:
        """The bytes from start to end; fewer if a file has become shorter. Raises RequestError if one is unreadable."""
        parts = []
        for i in range(bisect.bisect_right(self.starts, start, hi=len(self.paths)) - 1, len(self.paths)):
            first, length = self.starts[i], self.sizes[i] - self._marks[i]
            if first >= end:
                break
            low, high = max(0, start - first), min(length, end - first)
            if low < high:
                parts.append(_read(self.paths[i], self._marks[i] + low, self._marks[i] + high))
            parts.append(self.separator[max(0, start - first - length) : max(0, end - first - length)])
        return b"".join(parts)

    def whole(self, offset: int, end: int) -> int:
        """The end of the character of UTF-8 that byte `offset` is inside, or `offset` if it is between two."""
        following = self.read(offset, min(offset + 3, end))
        return offset + len(following) - len(following.lstrip(CONTINUING))

    def pieces(self, start: int, end: int, *, words: bool = False) -> Iterator[tuple[int, int]]:
        """Pieces of the bytes from start to end: where each starts and ends, at whole characters of UTF-8.

        With `words`, a piece ends where a word does, unless none ends in the next 4 kB.
        """
        while start < end:
            stop = self.whole(min(start + _PIECE, end), end)
            if words and stop < end:
                stop = self._end_of_word(stop, end)
            yield start, stop
            start = stop

    def _end_of_word(self, offset: int, end: int) -> int:
        """The first place from `offset`, between two characters, where a word ends; `offset` if none is near."""
        first = self.whole(max(0, offset - 4), end)  # the characters before it, because a word may end at `offset`
        last = min(offset + _LONGEST_WORD, end)
        parts = (self.read(first, offset), self.read(offset, last))
        before, after = (part.decode(errors="surrogateescape") for part in parts)
        if found := _WORD_END.search(before + after, len(before)):
            return offset + len(after[: found.start() - len(before)].encode(errors="surrogateescape"))
        return end if last == end else offset

    def of_pieces(
        self, pieces: Iterable[tuple[int, int]], work: Callable[[bytes], _T], doing: str, workers: int = _WORKERS
    ) -> Iterator[_T]:
        """Call `work` on each piece, in several threads; yield the results in order.

        Raises RequestError for a piece that is not UTF-8.
        """
        pieces = list(pieces)
        total = sum(end - start for start, end in pieces)

        def result(first: int, last: int) -> _T:
            try:
                return work(self.read(first, last))
            except UnicodeDecodeError as error:
                raise self.not_text(first + error.start) from None

        bar = tqdm(total=total, desc=doing, unit="B", unit_scale=True, leave=False, delay=1, disable=None)
        waiting = deque[Future[_T]]()
        with bar, ThreadPoolExecutor(workers) as pool:
            for i, (start, end) in enumerate(pieces):
                waiting.extend(pool.submit(result, *piece) for piece in pieces[i + len(waiting) : i + 2 * workers])
                yield waiting.popleft().result()
                bar.update(end - start)

    def not_text(self, offset: int) -> RequestError:
        """The error that byte `offset` is not UTF-8, with the file and the line."""
        i = bisect.bisect_right(self.starts, offset, hi=len(self.paths)) - 1
        path, first = self.paths[i], self.starts[i]
        beginning = _read(path, 0, max(map(len, _SIGNS.values())))
        if kind := next((kind for kind, sign in _SIGNS.items() if beginning.startswith(sign)), None):
            return RequestError(f"{path} is {kind}: leave it out with a pattern, as in data.path='FOLDER/**/*.txt'")
        before = (self.read(start, min(start + _PIECE, offset)) for start in range(first, offset, _PIECE))
        line = 1 + sum(piece.count(b"\n") for piece in before)
        remedy = "name its encoding, as in data.encoding=cp1252" if self._has_encoding else "convert it to UTF-8"
        return RequestError(f"{path} is not UTF-8 text in line {line}: {remedy}")


def read_text(path: Path, encoding: str = "utf-8", errors: str = "strict", *, has_encoding: bool = False) -> str:
    """The text of a file, line endings unchanged, in any encoding that Python knows.

    `errors`, as in `bytes.decode`, can allow bytes that are not UTF-8. `has_encoding`: see `Source`. Raises
    RequestError if the file is missing, empty, not in this encoding or not a regular file: a pipe might never end.
    """
    source = Source([path], has_encoding=has_encoding)
    if encoding == "utf-8":
        return source.text(errors)
    content = source.read(0, source.size)
    try:
        return content.decode(encoding)
    except LookupError:
        raise RequestError(f"data.encoding={encoding} is not known: use utf-8, utf-16, latin-1, cp1252, ...") from None
    except UnicodeError as error:
        line = 1 + content.count(b"\n", 0, getattr(error, "start", 0))
        raise RequestError(f"{path} is not text in data.encoding={encoding}: see line {line}") from None


def split_by(by: SplitBy, texts: Sequence[str], train_fraction: float, separator: str) -> tuple[str, str]:
    """The splits of these texts, joined by a separator. Raises RequestError if they are too few to divide."""
    if by == "files":
        return divided(with_copies(texts, separator), train_fraction, separator)
    content = separator.join(texts)
    if by == "place":
        return split_at(content, train_fraction)
    train, val = divided(lines_in(content), train_fraction)
    known = {line for line in lines_in(train) if len(line) > _SHORT_LINE}
    if (share := sum(len(line) for line in lines_in(val) if line in known) / len(val)) > _MUCH:
        log.warning(
            f"{share:.0%} of the characters to validate on are in lines of {_SHORT_LINE} or more that stand in the "
            "training split, too: a model may have memorised them"
        )
    return train, val


def with_copies(parts: Iterable[str], between: str) -> list[str]:
    """The different parts of a text, each joined with its copies, so that none is in two splits."""
    return [between.join([part] * count) for part, count in Counter(parts).items()]


def split_at(content: str, train_fraction: float) -> tuple[str, str]:
    """A text as a training split and, after it, a validation split."""
    boundary = int(train_fraction * len(content))
    return content[:boundary], content[boundary:]


def lines_in(content: str) -> list[str]:
    """The lines of a text, each with its line end; the last one gets one if it has none."""
    ended = content if content.endswith("\n") else f"{content}\n"
    return [f"{line}\n" for line in ended[:-1].split("\n")]


def divided(parts: Sequence[str], train_fraction: float, between: str = "") -> tuple[str, str]:
    """The parts of a text in random order, joined as two splits. Raises RequestError if one would be empty."""
    order = list(parts)
    random.Random(_SEED).shuffle(order)
    lengths = list(itertools.accumulate(map(len, order), initial=0))
    count = sum(length <= train_fraction * lengths[-1] for length in lengths[1:])
    if not 0 < count < len(order):
        parts = "1 part is" if len(order) == 1 else f"{len(order)} parts are"
        raise RequestError(f"{parts} too few to divide into a training and a validation split")
    return between.join(order[:count]), between.join(order[count:])


def lines_of(content: str) -> list[str]:
    """The lines of a text with Unix or Windows line endings. No other character ends a line."""
    return [line.removesuffix("\r") for line in content.removesuffix("\n").split("\n")]


def _state(path: Path) -> os.stat_result:
    try:
        state = path.stat()
    except FileNotFoundError:
        raise UnavailableError(f"there is no file {path}") from None
    except OSError as error:
        raise RequestError(f"cannot read {path}: {error.strerror}") from None
    if not stat.S_ISREG(state.st_mode):
        raise RequestError(f"{path} is not a file")
    return state


def _read(path: Path, start: int, end: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(end - start)
    except OSError as error:
        raise RequestError(f"cannot read {path}: {error.strerror}") from None
