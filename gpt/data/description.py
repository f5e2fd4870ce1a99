"""What reading a text once finds: its characters, where its splits are, its digest."""

import hashlib
import itertools
from collections.abc import Sequence
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from gpt.base.records import Record, Total
from gpt.data.corpus import SPLITS
from gpt.data.sources import Source
from gpt.data.tokenizers.characters import CODE_POINTS, code_points

Split = float | Sequence[int]  # the fraction of the characters to train on, or the byte at which each but the last ends


class Description(Record):
    """text.json: what reading a text once finds, of each split."""

    largest = 2**24  # bytes, for all characters of Unicode

    source: str  # the fingerprint of its files
    lengths: Annotated[list[Total], Field(min_length=2, max_length=len(SPLITS))]  # in characters
    ends: list[Total]  # in bytes
    whole_ends: list[Total]  # the same, moved to the end of a character that a split would cut
    characters: str
    invalid: Total | None  # the first byte that is not UTF-8
    digest: str

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        for ends in (self.ends, self.whole_ends):
            if len(ends) != len(self.lengths) or ends != sorted(ends):
                raise ValueError("its splits do not follow one another")
        return self


def describe(source: Source, split: Split) -> Description:
    """Read a text once."""
    size = source.size
    ends = [size] if isinstance(split, float) else [*(min(end, size) for end in split), size]
    whole_ends = [source.whole(end, size) for end in ends]
    alphabet, by_split = _Alphabet(), [list(source.pieces(*part)) for part in bytes_of(whole_ends).values()]
    pieces = [piece for some in by_split for piece in some]
    found = list(source.of_pieces(pieces, alphabet.add, "reading the text"))
    counts = iter(count for count, _ in found)
    lengths = [sum(itertools.islice(counts, len(some))) for some in by_split]
    if isinstance(split, float):
        train = int(split * lengths[0])
        lengths = [train, lengths[0] - train]
        ends = whole_ends = [_place(source, pieces, [count for count, _ in found], train), size]
    invalid = (start + byte for (_, byte), (start, _) in zip(found, pieces, strict=True) if byte is not None)
    described = Description(
        source=source.fingerprint, lengths=lengths, ends=ends, whole_ends=whole_ends, characters=str(alphabet),
        invalid=next(invalid, None), digest=_digest(source, ends),
    )  # fmt: skip
    source.check_unchanged()
    return described


def _place(source: Source, pieces: list[tuple[int, int]], counts: list[int], character: int) -> int:
    """The byte where a character starts, from the number of characters in each piece."""
    before = 0
    for count, (start, end) in zip(counts, pieces, strict=True):
        if before + count > character:
            text = source.read(start, end).decode(errors="surrogateescape")[: character - before]
            return start + len(text.encode(errors="surrogateescape"))
        before += count
    return 0  # of an empty text


def bytes_of(ends: Sequence[int]) -> dict[str, tuple[int, int]]:
    """The bytes of each split, from first to last, if they end at these bytes."""
    return dict(zip(SPLITS, itertools.pairwise([0, *ends]), strict=False))


def _digest(source: Source, ends: Sequence[int]) -> str:
    """As `Corpus.digest` has it: each of the splits after its length in bytes."""
    digest = hashlib.sha256()
    for start, end in bytes_of(ends).values():
        digest.update((end - start).to_bytes(8))
        for _ in source.of_pieces(source.pieces(start, end), digest.update, "hashing the text", workers=1):
            pass
    return digest.hexdigest()


class _Alphabet:
    """The characters of a text, found piece by piece in several threads."""

    def __init__(self) -> None:
        self._seen = np.zeros(CODE_POINTS, dtype=bool)

    def add(self, piece: bytes) -> tuple[int, int | None]:
        """The number of characters in a piece of UTF-8, and its first byte that is not UTF-8."""
        if piece.isascii():  # several times as fast
            new = piece.translate(None, delete=bytes(np.flatnonzero(self._seen[:128]).tolist()))
            self._seen[list(set(new))] = True
            return len(piece), None
        try:
            codes = code_points(piece.decode())
        except UnicodeDecodeError as error:
            return len(piece.decode(errors="surrogateescape")), error.start
        self._seen[codes] = True
        return len(codes), None

    def __str__(self) -> str:
        return "".join(map(chr, np.flatnonzero(self._seen)))
