"""The types of corpora. The type of its corpus decides what a run is for."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from gpt.data.characters import CharTokenizer, Ids

Pairs = list[tuple[str, str]]  # source and target


class Corpus(ABC):
    """The data that a run is trained and evaluated on. Each task handles one type of corpus."""

    @abstractmethod
    def parts(self) -> Iterable[str]:
        """Its whole content, in parts that differ if the same content is split differently."""

    @property
    def digest(self) -> str:
        """The SHA-256 of its content, which identifies the corpus."""
        digest = hashlib.sha256()
        for part in self.parts():
            content = part.encode()
            digest.update(len(content).to_bytes(8))  # otherwise another split could have the same digest
            digest.update(content)
        return digest.hexdigest()


class Text(Corpus):
    """A text to continue, in a training and a validation split."""

    @property
    @abstractmethod
    def characters(self) -> str:
        """Each character that occurs in it, in ascending order."""

    @abstractmethod
    def lengths(self) -> dict[str, int]:
        """The characters in each split."""

    @abstractmethod
    def encoded(self, tokenizer: CharTokenizer) -> dict[str, Ids]:
        """The token ids of each split, without characters that the vocabulary lacks."""


@dataclass(frozen=True)
class TextCorpus(Text):
    """A text in memory."""

    train: str
    val: str

    def parts(self) -> Iterable[str]:
        """Its two splits."""
        return [self.train, self.val]

    @cached_property
    def characters(self) -> str:
        """Each character that occurs in it, in ascending order."""
        return "".join(sorted({*self.train, *self.val}))

    def lengths(self) -> dict[str, int]:
        """The characters in each split."""
        return {"train": len(self.train), "val": len(self.val)}

    def encoded(self, tokenizer: CharTokenizer) -> dict[str, Ids]:
        """Its token ids, in memory."""
        splits = {"train": self.train, "val": self.val}
        return {name: tokenizer.encode(tokenizer.without_unknown(text)[0]) for name, text in splits.items()}


@dataclass(frozen=True)
class PairCorpus(Corpus):
    """Sentence pairs: training, validation and test splits."""

    train: Pairs
    val: Pairs
    test: Pairs
    vocab_size: int  # the number of subwords to learn from the training pairs

    def parts(self) -> Iterable[str]:
        """Each split's name and pairs."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return (line for name, pairs in splits.items() for line in (name, *(f"{s}\t{t}" for s, t in pairs)))
