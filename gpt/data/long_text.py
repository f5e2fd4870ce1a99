"""Texts too large for memory: read in pieces, and encoded once into files of token ids that are mapped into memory.

Each text has a folder, named by the digest of its files and of what is done with them. A file in it is complete, and
right, if it is there: it is written under a temporary name and renamed.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from tqdm import tqdm

from gpt.base.errors import UserError
from gpt.base.files import replacing
from gpt.base.losses import SPLITS
from gpt.data.corpus import Learned, Text, Tokens
from gpt.data.sources import Source
from gpt.data.tokenizer import Ids, TextTokenizer
from gpt.data.tokenizers.characters import CODE_POINTS, code_points
from gpt.data.vocabulary import Vocabulary


class LongText(Text):
    """A text that stays in its files."""

    def __init__(
        self, sources: Sequence[Source], folder: Path, tokens: Tokens, train_fraction: float | None = None
    ) -> None:
        """A source for each split or, with a fraction, one text to divide. Token ids are kept below `folder`.

        Raises RequestError if it cannot be read as text, UserError if the folder cannot be written.
        """
        self.tokens, self._sources = tokens, sources
        described = [[source.described() for source in sources], train_fraction]
        self.digest = hashlib.sha256(json.dumps(described).encode()).hexdigest()
        # Only what is not UTF-8 differs between ways to treat it.
        self._folder = folder / f"{sources[0].paths[0].stem[:40]}-{self.digest[:16]}-{sources[0].errors}"
        lengths, self._characters = json.loads(self._kept("text.json", self._described).read_bytes())
        if train_fraction is None:
            parts = [(source, 0, length) for source, length in zip(sources, lengths, strict=True)]
        else:
            train = int(train_fraction * lengths[0])
            parts = [(sources[0], 0, train), (sources[0], train, lengths[0])]
        self._parts = dict(zip(SPLITS, parts, strict=False))

    @property
    def characters(self) -> str:
        """Each character of the text, in ascending order."""
        return self._characters

    def lengths(self) -> dict[str, int]:
        """The characters in each split."""
        return {split: end - start for split, (_, start, end) in self._parts.items()}

    def texts(self, split: str) -> Iterator[str]:
        """A split, in pieces that end where a word does."""
        source, start, end = self._parts[split]
        place = 0
        for piece in _with_progress(source, end):
            if part := piece[max(0, start - place) : end - place]:
                yield part
            place += len(piece)
            if place >= end:
                return

    def encoded(self, tokenizer: TextTokenizer) -> dict[str, Ids]:
        """Its token ids, in files that are written once. Raises UserError if they cannot be written."""
        dtype = np.dtype(f"<u{1 if len(tokenizer) <= 2**8 else 2 if len(tokenizer) <= 2**16 else 4}")

        def content(split: str) -> Iterator[bytes]:
            for ids in self.token_ids(split, tokenizer):
                yield ids.numpy().astype(dtype).tobytes()

        names = {split: f"{tokenizer.name}.{split}.ids" for split in self.lengths()}
        return {split: MappedIds(self._kept(name, partial(content, split)), dtype) for split, name in names.items()}

    def learned(self, tokenizer: type[Learned]) -> Learned:
        """A tokenizer that is learned from the training split, the first time."""
        kind, size, learn = self.tokens.kind, self.tokens.vocab_size, super().learned

        def content() -> Iterator[bytes]:
            found = learn(tokenizer)
            kept = Vocabulary(kind=kind, vocabulary=found.vocabulary, merges=found.merges, corpus=self.digest)
            yield kept.model_dump_json().encode()

        path = self._kept(f"{kind}_{size}.json", content)
        return tokenizer.restored(Vocabulary.model_validate_json(path.read_bytes()))

    def _described(self) -> Iterator[bytes]:
        """The characters in each source, and each character of all of them, in ascending order."""
        seen, lengths = np.zeros(CODE_POINTS, dtype=bool), []
        for source in self._sources:
            lengths.append(0)
            for piece in _with_progress(source):
                seen[code_points(piece)] = True
                lengths[-1] += len(piece)
        yield json.dumps([lengths, "".join(map(chr, np.flatnonzero(seen)))]).encode()

    def _kept(self, name: str, content: Callable[[], Iterable[bytes]]) -> Path:
        """A file of the folder. The first process that needs it writes it, and others wait."""
        path = self._folder / name
        try:
            if not path.exists():
                self._folder.mkdir(parents=True, exist_ok=True)
                with FileLock(self._folder / ".lock"):
                    if not path.exists():
                        with replacing(path) as file:
                            file.writelines(content())
        except OSError as error:
            raise UserError(
                f"cannot write {path} ({error.strerror}): set GPT_DATA_DIR to a folder with room for it"
            ) from None
        return path


def _with_progress(pieces: Iterable[str], total: int | None = None) -> Iterator[str]:
    """Pieces of a text, with a progress bar if they take longer than a second."""
    bar = tqdm(total=total, desc="reading the text", unit_scale=True, leave=False, delay=1, disable=None)
    with bar:
        for piece in pieces:
            yield piece
            bar.update(len(piece))


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
