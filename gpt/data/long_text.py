"""Texts too large for memory: read once, and kept as token ids in files that are mapped into memory.

Each text has a folder. text.json describes the text. Each tokenizer and split has a file of ids, little-endian integers
of one, two or four bytes, and a record beside it. Every file is written under a temporary name and renamed, its record
last, so that a record describes only complete files.
"""

import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
import torch
from filelock import FileLock
from pydantic import Field, ValidationError
from torch import Tensor

from gpt.base.errors import UserError
from gpt.base.files import is_temporary, replacing, write_atomically
from gpt.base.losses import SPLITS
from gpt.base.record import Record, Total
from gpt.data.corpus import Learned, Text, Tokens
from gpt.data.sources import Source
from gpt.data.tokenizer import Ids, TextTokenizer
from gpt.data.tokenizers.characters import CODE_POINTS, code_points
from gpt.data.vocabulary import Vocabulary

_R = TypeVar("_R", bound=Record)
Split = float | Sequence[int]  # the fraction of the characters to train on, or the byte at which each but the last ends


class _Encoded(Record):
    """The record beside a file of token ids."""

    source: str  # as in text.json
    tokens: Total


class LongText(Text):
    """A text that is read from its files once."""

    def __init__(self, source: Source, split: Split, folder: Path, tokens: Tokens) -> None:
        """Keep token ids and records below `folder`, for all later starts with the same content.

        Raises UserError if it cannot be written.
        """
        names = "\0".join([f"{split}", source.separator.hex(), *map(os.path.abspath, source.paths)])
        name = hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()[:16]
        self.tokens, self._source, fingerprint = tokens, source, source.fingerprint  # before other processes must wait
        self._folder = folder / f"{source.paths[0].stem[:40]}-{name}"
        with _preparing(self._folder):
            path = self._folder / "text.json"
            found = _record(path, _Description)
            if found is None or found.source != fingerprint:
                for prepared in [*self._folder.glob("*.json"), *self._folder.glob("*.ids")]:  # from an earlier text
                    prepared.unlink()
                found = _described(source, split)
                write_atomically(path, found.model_dump_json())
        self._described = found

    @property
    def digest(self) -> str:
        """The SHA-256 of its content, as of a text in memory."""
        return self._described.digest

    @property
    def characters(self) -> str:
        """Each character of the text, in ascending order. Raises RequestError if it is not UTF-8."""
        if self._described.invalid is not None:
            raise self._source.not_text(self._described.invalid)
        return self._described.characters

    @property
    def is_utf8(self) -> bool:
        """Whether all of the text is UTF-8."""
        return self._described.invalid is None

    def lengths(self) -> dict[str, int]:
        """The characters in each split."""
        return dict(zip(SPLITS, self._described.lengths, strict=False))

    def encoded(self, tokenizer: TextTokenizer) -> dict[str, Ids]:
        """Its token ids, in files that are written once. Raises UserError if they cannot be written."""
        dtype = np.dtype(f"<u{1 if len(tokenizer) <= 2**8 else 2 if len(tokenizer) <= 2**16 else 4}")
        ends = self._described.ends if tokenizer.reads_bytes else self._described.whole_ends
        found: dict[str, Ids] = {}
        with _preparing(self._folder):
            for split, part in _bytes_of(ends).items():
                path = self._folder / f"{tokenizer.name}.{split}.ids"
                if not self._is_intact(path, dtype):
                    self._encode(path, tokenizer, dtype, part, f"encoding the {split} split")
                found[split] = MappedIds(path, dtype)
        return found

    def learned(self, tokenizer: type[Learned]) -> Learned:
        """A tokenizer that is learned from the training split, the first time."""
        size, kind, corpus = self.tokens.vocab_size, self.tokens.kind, self._source.fingerprint
        path = self._folder / f"{kind}_{size}.json"
        with _preparing(self._folder):
            kept = _record(path, Vocabulary)
            if kept is not None and kept.corpus == corpus:
                return tokenizer.restored(kept)
            found = tokenizer.trained_on(self.texts("train"), size, show_progress=True)
            kept = Vocabulary(kind=kind, vocabulary=found.vocabulary, merges=found.merges, corpus=corpus)
            write_atomically(path, kept.model_dump_json())
        return found

    def texts(self, split: str) -> Iterator[str]:
        """A split, in pieces that end where a word does."""
        pieces = self._source.pieces(*_bytes_of(self._described.whole_ends)[split], words=True)
        decode = partial(bytes.decode, errors="surrogateescape")
        return self._source.of_pieces(pieces, decode, "reading the text")

    def _encode(self, path: Path, tokenizer: TextTokenizer, dtype: np.dtype, part: tuple[int, int], doing: str) -> None:
        tokens = 0
        with replacing(path) as file:
            pieces = self._source.pieces(*part, words=tokenizer.joins_characters)
            for ids in self._source.of_pieces(pieces, tokenizer.encode_utf8, doing):
                file.write(ids.astype(dtype, copy=False).tobytes())
                tokens += len(ids)
        record = _Encoded(source=self._source.fingerprint, tokens=tokens)
        write_atomically(path.with_suffix(".json"), record.model_dump_json())

    def _is_intact(self, path: Path, dtype: np.dtype) -> bool:
        """Whether a file of token ids is of this text, and complete."""
        record = _record(path.with_suffix(".json"), _Encoded)
        if record is None or record.source != self._source.fingerprint or not path.exists():
            return False
        return path.stat().st_size == record.tokens * dtype.itemsize


def _record(path: Path, kind: type[_R]) -> _R | None:
    """The record in a file; None if it is missing, damaged or of another version."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


@contextmanager
def _preparing(folder: Path) -> Iterator[None]:
    """Let one process at a time write the folder; the others wait, and find the files there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            for path in folder.iterdir():
                if is_temporary(path.name):  # of a process that was killed
                    path.unlink()
            yield
    except OSError as error:
        raise UserError(
            f"cannot prepare the text in {folder} ({error.strerror}): set GPT_DATA_DIR to a folder with room for it"
        ) from None


class _Description(Record):
    """text.json: what reading a text once finds."""

    source: str  # the fingerprint of its files
    lengths: Annotated[list[Total], Field(min_length=2, max_length=len(SPLITS))]  # in characters
    ends: list[Total]  # in bytes
    whole_ends: list[Total]  # ends that do not cut a character: in bytes
    characters: str
    invalid: Total | None  # the first byte that is not UTF-8
    digest: str


def _described(source: Source, split: Split) -> _Description:
    """The description of a text, from reading it once."""
    size = source.size
    ends = [size] if isinstance(split, float) else [*(min(end, size) for end in split), size]
    whole_ends = [source.whole(end, size) for end in ends]
    alphabet, by_split = _Alphabet(), [list(source.pieces(*part)) for part in _bytes_of(whole_ends).values()]
    pieces = [piece for some in by_split for piece in some]
    found = list(source.of_pieces(pieces, alphabet.add, "reading the text"))
    counts = iter(count for count, _ in found)
    lengths = [sum(itertools.islice(counts, len(some))) for some in by_split]
    if isinstance(split, float):
        train = int(split * lengths[0])
        lengths = [train, lengths[0] - train]
        ends = whole_ends = [_place(source, pieces, [count for count, _ in found], train), size]
    invalid = (start + byte for (_, byte), (start, _) in zip(found, pieces, strict=True) if byte is not None)
    return _Description(
        source=source.fingerprint,
        lengths=lengths,
        ends=ends,
        whole_ends=whole_ends,
        characters=str(alphabet),
        invalid=next(invalid, None),
        digest=_digest(source, ends),
    )


def _place(source: Source, pieces: list[tuple[int, int]], counts: list[int], character: int) -> int:
    """The byte where a character starts, from the number of characters in each piece."""
    before = 0
    for count, (start, end) in zip(counts, pieces, strict=True):
        if before + count > character:
            text = source.read(start, end).decode(errors="surrogateescape")[: character - before]
            return start + len(text.encode(errors="surrogateescape"))
        before += count
    return 0  # of an empty text


def _bytes_of(ends: Sequence[int]) -> dict[str, tuple[int, int]]:
    """The bytes of each split, from first to last, if they end at these bytes."""
    return dict(zip(SPLITS, itertools.pairwise([0, *ends]), strict=False))


def _digest(source: Source, ends: Sequence[int]) -> str:
    """The digest of `Corpus.digest`: of each split, preceded by its length in bytes."""
    digest = hashlib.sha256()
    for start, end in _bytes_of(ends).values():
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


class MappedIds:
    """Token ids in a file. Only the indexed ones are read."""

    def __init__(self, path: Path, dtype: np.dtype) -> None:
        self.device = torch.device("cpu")
        is_empty = not path.stat().st_size  # An empty file cannot be mapped.
        self._ids = np.empty(0, dtype) if is_empty else np.asarray(np.memmap(path, dtype, "r"))

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        """The ids of a slice, or at some places: int64."""
        chosen = self._ids.take(index.numpy()) if isinstance(index, Tensor) else self._ids[index]
        return torch.from_numpy(chosen.astype(np.int64))
