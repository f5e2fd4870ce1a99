"""Text files as one text that is read from them in pieces, again each time."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpt.base.files import sha256
from gpt.data.records import PIECE, decoded

# The last place where a word ends, for every tokenizer: before white space.
_LAST_WORD_END = re.compile(r"(?s).*\S(?=[ \t\n\r])")


@dataclass(frozen=True)
class Source:
    """Files one after another, with a separator between them."""

    paths: Sequence[Path]
    separator: str = ""
    encoding: str = "utf-8"
    errors: str = "strict"  # for bytes that are not UTF-8, as in `bytes.decode`
    is_unix: bool = False  # whether \\r\\n is shortened to \\n
    start: int = 0  # the bytes of each file that are read
    end: int | None = None

    def described(self) -> dict[str, object]:
        """What identifies the text: the SHA-256 of each file, which is read for it (1.2 s per GB), and the rest."""
        return dataclasses.asdict(self) | {"paths": [sha256(path) for path in self.paths], "errors": None}

    def __iter__(self) -> Iterator[str]:
        """Pieces that end where a word does. Raises RequestError for a file that is not in this encoding."""
        text = ""
        for piece in self._decoded():
            text += piece
            if len(text) >= PIECE:
                found = _LAST_WORD_END.match(text)
                end = found.end() if found else len(text)
                yield self._with_line_ends(text[:end])
                text = text[end:]
        if text:
            yield self._with_line_ends(text)

    def _decoded(self) -> Iterator[str]:
        for i, path in enumerate(self.paths):
            yield self.separator if i else ""
            yield from decoded(path, self.encoding, self.errors, self.start, self.end)

    def _with_line_ends(self, text: str) -> str:
        return text.replace("\r\n", "\n") if self.is_unix else text
