"""Texts too large for memory: read once, and kept as token ids in files that are mapped into memory.

What is prepared from a text lies in a folder of its own: text.json describes it, and for each tokenizer and split there
are the ids, little-endian integers of one, two or four bytes, with a record beside them. Every file is written under a
temporary name and renamed, its record last, so that a record describes only what is complete.
"""

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from filelock import FileLock
from pydantic import ValidationError
from torch import Tensor

from gpt.base.errors import UserError
from gpt.base.files import is_temporary, read_text_file, seal, temporary_name, unseal, write_atomically
from gpt.base.records import Record, Total
from gpt.data.characters import CODE_POINTS, CharTokenizer, Ids, code_points
from gpt.data.corpus import Text
from gpt.data.sources import Source

log = logging.getLogger(__name__)

_R = TypeVar("_R", bound=Record)


class MappedIds:
    """Token ids in a file. Indexing reads only the ids it returns."""

    def __init__(self, ids: np.ndarray) -> None:
        self._ids, self.device = ids, torch.device("cpu")

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        """The ids of a slice, or at some places: int64."""
        chosen = self._ids[index.numpy() if isinstance(index, Tensor) else index]
        return torch.from_numpy(chosen.astype(np.int64))


class _Described(Record):
    """text.json: what reading a text once finds."""

    source: str  # the fingerprint of its files
    train: Total  # its characters
    val: Total
    boundary: Total  # between the two, in bytes
    size: Total  # of both, in bytes
    characters: str
    digest: str


class _Encoded(Record):
    """The record beside a file of token ids."""

    source: str
    tokens: Total
    written: Total  # when, in nanoseconds: its time and its size tell that a file was changed


class LongText(Text):
    """A text that is read from its files once."""

    def __init__(self, source: Source, train_fraction: float, folder: Path) -> None:
        """What is prepared from it is kept below `folder`, for all later starts.

        Raises RequestError if it is not UTF-8, UserError if `folder` cannot be written.
        """
        names = "\0".join([f"{train_fraction}", *(str(path.resolve()) for path in source.paths)])
        name = hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()[:16]
        self._source, self._folder = source, folder / f"{source.paths[0].stem[:40]}-{name}"
        with _preparing(self._folder):
            path = self._folder / "text.json"
            found = _record(path, _Described)
            if found is None or found.source != source.fingerprint:
                found = _described(source, train_fraction)
                write_atomically(path, seal(found.model_dump()))
        self._described = found

    def parts(self) -> Iterator[str]:
        """Its two splits, each in memory."""
        return (self._source.read(*part).decode() for part in self._splits().values())

    @property
    def digest(self) -> str:
        """The SHA-256 of its content, as of a text in memory."""
        return self._described.digest

    @property
    def characters(self) -> str:
        """Each character that occurs in it, in ascending order."""
        return self._described.characters

    def lengths(self) -> dict[str, int]:
        """The characters in each split."""
        return {"train": self._described.train, "val": self._described.val}

    def encoded(self, tokenizer: CharTokenizer) -> dict[str, Ids]:
        """Its token ids, mapped into memory; they are made first if that was not done before.

        Raises UserError if the files have changed since the start, or if nothing can be written.
        """
        dtype = np.dtype(f"<u{1 if len(tokenizer) <= 2**8 else 2 if len(tokenizer) <= 2**16 else 4}")
        found: dict[str, Ids] = {}
        with _preparing(self._folder):
            for split, part in self._splits().items():
                path = self._folder / f"{tokenizer.name}.{split}.ids"
                record = _record(path.with_suffix(".json"), _Encoded)
                if record is None or not _is_intact(path, record, self._source, dtype):
                    record = self._encode(path, tokenizer, dtype, part, f"encoding the {split} split")
                mapped = np.memmap(path, dtype, "r") if record.tokens else np.empty(0, dtype)
                found[split] = MappedIds(mapped)
        return found

    def _splits(self) -> dict[str, tuple[int, int]]:
        """The bytes of each split."""
        boundary, size = self._described.boundary, self._described.size
        return {"train": (0, boundary), "val": (boundary, size)}

    def _encode(
        self, path: Path, tokenizer: CharTokenizer, dtype: np.dtype, part: tuple[int, int], doing: str
    ) -> _Encoded:
        temporary, tokens = temporary_name(path), 0
        try:
            with temporary.open("xb") as file:
                for ids in self._source.of_pieces(*part, tokenizer.encode_utf8, doing):
                    file.write(ids.astype(dtype, copy=False).tobytes())
                    tokens += len(ids)
                file.flush()
                os.fsync(file.fileno())
            self._source.check_unchanged()
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        record = _Encoded(source=self._source.fingerprint, tokens=tokens, written=path.stat().st_mtime_ns)
        write_atomically(path.with_suffix(".json"), seal(record.model_dump()))
        return record


def _described(source: Source, train_fraction: float) -> _Described:
    """Read a text once."""
    alphabet, pieces = _Alphabet(), list(source.pieces(0, source.size))
    counts = list(source.of_pieces(0, source.size, alphabet.add, "reading the text"))
    train, before, boundary = int(train_fraction * sum(counts)), 0, 0
    for count, (start, end) in zip(counts, pieces, strict=True):
        if before + count > train:
            boundary = start + len(source.read(start, end).decode()[: train - before].encode())
            break
        before += count
    found = _Described(
        source=source.fingerprint, train=train, val=sum(counts) - train, boundary=boundary, size=source.size,
        characters=str(alphabet), digest=_digest(source, boundary),
    )  # fmt: skip
    source.check_unchanged()
    return found


def _digest(source: Source, boundary: int) -> str:
    """As `Corpus.digest` has it: each of the two splits after its length in bytes."""
    digest = hashlib.sha256()
    for start, end in ((0, boundary), (boundary, source.size)):
        digest.update((end - start).to_bytes(8))
        for _ in source.of_pieces(start, end, digest.update, "hashing the text", workers=1):
            pass
    return digest.hexdigest()


class _Alphabet:
    """The characters of a text, found piece by piece in several threads."""

    def __init__(self) -> None:
        self._seen = np.zeros(CODE_POINTS, dtype=bool)

    def add(self, piece: bytes) -> int:
        """The number of characters in a piece of UTF-8."""
        if piece.isascii():  # several times as fast
            new = piece.translate(None, delete=bytes(np.flatnonzero(self._seen[:128]).tolist()))
            self._seen[list(set(new))] = True
            return len(piece)
        codes = code_points(piece.decode())
        self._seen[codes] = True
        return len(codes)

    def __str__(self) -> str:
        return "".join(map(chr, np.flatnonzero(self._seen)))


def _record(path: Path, kind: type[_R]) -> _R | None:
    """The record in a file, if there is one and it is intact."""
    if not path.exists():
        return None
    try:
        return kind.model_validate(unseal(read_text_file(path), path))
    except (UserError, ValidationError):
        log.warning(f"{path} is damaged: preparing the text again")
        return None


def _is_intact(path: Path, record: _Encoded, source: Source, dtype: np.dtype) -> bool:
    if record.source != source.fingerprint or not path.exists():
        return False
    state = path.stat()
    if (state.st_size, state.st_mtime_ns) == (record.tokens * dtype.itemsize, record.written):
        return True
    log.warning(f"{path} has changed since it was prepared: preparing it again")
    return False


@contextmanager
def _preparing(folder: Path) -> Iterator[None]:
    """One process at a time prepares what is in a folder; others wait, and find it done.

    Raises UserError if the folder cannot be written.
    """
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
