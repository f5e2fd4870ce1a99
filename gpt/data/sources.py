"""Text files as one text, which can be read in pieces without holding all of it in memory."""

import bisect
import codecs
import hashlib
import itertools
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from gpt.base.errors import RequestError
from gpt.base.files import sha256
from gpt.data.records import not_decoded, read_bytes, size_of

_T = TypeVar("_T")

_PIECE = 2**17  # bytes that are read at a time; with larger ones, memory fragments
CONTINUING = bytes(range(0x80, 0xC0))  # all bytes of a character in UTF-8 but its first one
# Where a word ends for GPT-2 and for the tokenizer of words: before white space, and between a letter or digit and a
# sign. The tokenizer of words counts "_" and combining marks as letters.
_WORD_END = re.compile(r"(?<=\S)(?=[ \t\n\r])|(?<=[^\W_])(?=[!-/:-@[-^`{-~\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f])")
_LONGEST_WORD = 2**12  # bytes
_WORKERS = os.cpu_count() or 1


class Source:
    """Files one after another, with a separator between them, as bytes 0 .. size - 1. Byte order marks are left out."""

    def __init__(self, paths: Sequence[Path], separator: bytes = b"") -> None:
        """Raises RequestError for anything but regular files."""
        self.paths, self.separator = tuple(paths), separator
        self._sizes = [size_of(path) for path in paths]  # in bytes

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of the contents of its files, which are read for it: 1.2 s per GB."""
        return hashlib.sha256("".join(map(sha256, self.paths)).encode()).hexdigest()

    @cached_property
    def _marks(self) -> list[int]:
        """The bytes that each file's byte order mark takes."""
        return [3 if read_bytes(path, 0, 3) == codecs.BOM_UTF8 else 0 for path in self.paths]

    @cached_property
    def starts(self) -> list[int]:
        """Where each file starts in the text, and where another one would."""
        lengths = (size - mark + len(self.separator) for size, mark in zip(self._sizes, self._marks, strict=True))
        return [0, *itertools.accumulate(lengths)]

    @property
    def size(self) -> int:
        """In bytes."""
        return self.starts[-1] - len(self.separator)

    def read(self, start: int, end: int) -> bytes:
        """The bytes from start to end; fewer if a file has become shorter. Raises RequestError if one is unreadable."""
        parts = []
        for i in range(bisect.bisect_right(self.starts, start, hi=len(self.paths)) - 1, len(self.paths)):
            first, length = self.starts[i], self._sizes[i] - self._marks[i]
            if first >= end:
                break
            low, high = max(0, start - first), min(length, end - first)
            if low < high:
                parts.append(read_bytes(self.paths[i], self._marks[i] + low, self._marks[i] + high))
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
        before = (self.read(start, min(start + _PIECE, offset)) for start in range(first, offset, _PIECE))
        return not_decoded(path, 1 + sum(piece.count(b"\n") for piece in before))
