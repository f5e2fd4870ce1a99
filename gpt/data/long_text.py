"""Texts too large for memory: read once, and kept as token ids in files that are mapped into memory.

What is prepared from a text lies in a folder of its own: text.json describes it, and for each tokenizer and split there
are the ids, little-endian integers of one, two or four bytes, with a record beside them. Every file is written under a
temporary name and renamed, its record last, so that a record describes only what is complete.

Records have a checksum. Ids have none, because reading gigabytes at each start would take longer than the start: their
size and the times of their last changes are compared instead. So whatever was written to them is found, even if the
time of modification was set back, but not what a failing disk returns without an error.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from filelock import FileLock
from pydantic import ValidationError

from gpt.base.errors import UserError
from gpt.base.files import is_temporary, read_text_file, replacing, seal, unseal, write_atomically
from gpt.base.records import Record, Total
from gpt.data.corpus import SPLITS, Learned, Text, Tokens
from gpt.data.description import Description, Split, bytes_of, describe
from gpt.data.mapped import MappedIds
from gpt.data.sources import Source
from gpt.data.tokenizer import Ids, TextTokenizer
from gpt.data.vocabulary import Vocabulary

log = logging.getLogger(__name__)

_R = TypeVar("_R", bound=Record)


class _Encoded(Record):
    """The record beside a file of token ids."""

    source: str
    tokens: Total
    written: list[Total]  # when its content and its inode last changed, in nanoseconds


class LongText(Text):
    """A text that is read from its files once."""

    def __init__(self, source: Source, split: Split, folder: Path, tokens: Tokens) -> None:
        """What is prepared from it is kept below `folder`, for all later starts.

        Raises UserError if `folder` cannot be written.
        """
        names = "\0".join([f"{split}", source.separator.hex(), *map(os.path.abspath, source.paths)])
        name = hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()[:16]
        self.tokens, self._source = tokens, source
        self._folder = folder / f"{source.paths[0].stem[:40]}-{name}"
        with _preparing(self._folder):
            path = self._folder / "text.json"
            found = _record(path, Description)
            if found is None or found.source != source.fingerprint:
                for prepared in [*self._folder.glob("*.json"), *self._folder.glob("*.ids")]:  # from an earlier text
                    prepared.unlink()
                found = describe(source, split)
                write_atomically(path, seal(found.model_dump()))
        self._described = found

    def parts(self) -> Iterator[str]:
        """Its splits, each in memory."""
        parts = bytes_of(self._described.ends).values()
        return (self._source.read(*part).decode(errors="surrogateescape") for part in parts)

    @property
    def digest(self) -> str:
        """The SHA-256 of its content, as of a text in memory."""
        return self._described.digest

    @property
    def characters(self) -> str:
        """Each character that occurs in it, in ascending order. Raises RequestError if it is not UTF-8."""
        if self._described.invalid is not None:
            raise self._source.not_text(self._described.invalid)
        return self._described.characters

    @property
    def is_utf8(self) -> bool:
        """Whether all of it is."""
        return self._described.invalid is None

    def lengths(self) -> dict[str, int]:
        """The characters in each split."""
        return dict(zip(SPLITS, self._described.lengths, strict=False))

    def encoded(self, tokenizer: TextTokenizer) -> dict[str, Ids]:
        """Its token ids, mapped into memory; they are made first if that was not done before.

        Raises UserError if the files have changed since the start, or if nothing can be written.
        """
        dtype = np.dtype(f"<u{1 if len(tokenizer) <= 2**8 else 2 if len(tokenizer) <= 2**16 else 4}")
        found: dict[str, Ids] = {}
        with _preparing(self._folder):
            described = self._described
            for split, part in bytes_of(described.ends if tokenizer.reads_bytes else described.whole_ends).items():
                path = self._folder / f"{tokenizer.name}.{split}.ids"
                record = _record(path.with_suffix(".json"), _Encoded)
                if record is None or not _is_intact(path, record, self._source, dtype):
                    record = self._encode(path, tokenizer, dtype, part, f"encoding the {split} split")
                found[split] = MappedIds(path, dtype)
        return found

    def learned(self, tokenizer: type[Learned]) -> Learned:
        """A tokenizer that is learned from the training split, the first time."""
        size, kind = self.tokens.vocab_size, self.tokens.kind
        path = self._folder / f"{kind}_{size}.json"
        with _preparing(self._folder):
            kept = _record(path, Vocabulary)
            if kept is not None and kept.corpus == self._source.fingerprint:
                try:
                    return tokenizer.restored(kept)
                except ValueError as error:
                    log.warning(f"{path} is damaged ({error}): preparing the text again")
            found = tokenizer.trained_on(self.training_texts(), size, show_progress=True)
            self._source.check_unchanged()
            kept = Vocabulary(
                kind=kind, vocabulary=found.vocabulary, merges=found.merges, corpus=self._source.fingerprint
            )
            write_atomically(path, seal(kept.model_dump()))
        return found

    def training_texts(self) -> Iterator[str]:
        """The training split, in pieces that end where a word does."""
        pieces = self._source.pieces(0, self._described.whole_ends[0], words=True)
        return self._source.of_pieces(pieces, bytes.decode, "learning the vocabulary")

    def _encode(
        self, path: Path, tokenizer: TextTokenizer, dtype: np.dtype, part: tuple[int, int], doing: str
    ) -> _Encoded:
        tokens = 0
        with replacing(path) as file:
            pieces = self._source.pieces(*part, words=tokenizer.joins_characters)
            for ids in self._source.of_pieces(pieces, tokenizer.encode_utf8, doing):
                file.write(ids.astype(dtype, copy=False).tobytes())
                tokens += len(ids)
            self._source.check_unchanged()
        record = _Encoded(source=self._source.fingerprint, tokens=tokens, written=_times(path))
        write_atomically(path.with_suffix(".json"), seal(record.model_dump()))
        return record


def _record(path: Path, kind: type[_R]) -> _R | None:
    """The record in a file, if there is one and it is intact."""
    if not path.exists():
        return None
    try:
        found = unseal(read_text_file(path, largest=kind.largest), path)
        return kind.model_validate_json(json.dumps(found))
    except (UserError, ValidationError):
        log.warning(f"{path} is damaged: preparing the text again")
        return None


def _is_intact(path: Path, record: _Encoded, source: Source, dtype: np.dtype) -> bool:
    if record.source != source.fingerprint or not path.exists():
        return False
    if (path.stat().st_size, _times(path)) == (record.tokens * dtype.itemsize, record.written):
        return True
    log.warning(f"{path} has changed since it was prepared: preparing it again")
    return False


def _times(path: Path) -> list[int]:
    state = path.stat()
    return [state.st_mtime_ns, state.st_ctime_ns]


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
