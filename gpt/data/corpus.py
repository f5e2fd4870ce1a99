"""The types of corpora, which decide what a run is for."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, ClassVar, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from gpt.base.losses import SPLITS
from gpt.data.batch import Data
from gpt.data.text import TextData
from gpt.data.tokenizer import Ids, LearnedTokenizer, TextTokenizer, is_utf8
from gpt.data.vocabulary import LONG

Pairs = list[tuple[str, str]]  # source and target
Learned = TypeVar("Learned", bound=LearnedTokenizer)
SubwordCount = Annotated[int, Field(ge=256, le=10**6)]


class Corpus(ABC):
    """The data that a run is trained and evaluated on."""

    task: ClassVar[str]  # what it is for: a class of gpt.tasks, with its module
    answers_only: ClassVar[bool] = False  # whether the targets are only answers at the ends of lines

    @abstractmethod
    def parts(self) -> Iterable[str]:
        """Its whole content, in parts that differ if the same content is split differently."""

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of its content, which identifies the corpus."""
        digest = hashlib.sha256()
        for part in self.parts():
            content = part.encode(errors="surrogateescape")
            digest.update(len(content).to_bytes(8))  # Without lengths, another split could have the same digest.
            digest.update(content)
        return digest.hexdigest()


@dataclass(frozen=True)
class Tokens:
    """What a text is to be split into."""

    kind: str = "characters"  # of gpt.data.tokenizers
    vocab_size: int = 1000  # of a learned vocabulary


class Text(Corpus):
    """A text to continue: a training and a validation split and, in some benchmarks, a test split.

    Bytes that are not UTF-8 are surrogates in it, as `surrogateescape` makes them.
    """

    task = "continuation.Continuation"
    tokens: Tokens

    @property
    @abstractmethod
    def characters(self) -> str:
        """Each character of the text, in ascending order."""

    @abstractmethod
    def lengths(self) -> dict[str, int]:
        """The characters in each split."""

    @abstractmethod
    def texts(self, split: str) -> Iterable[str]:
        """A split, in pieces that end where a word does."""

    @abstractmethod
    def encoded(self, tokenizer: TextTokenizer) -> dict[str, Ids]:
        """The token ids of each split, without characters that the vocabulary lacks."""

    @property
    def is_utf8(self) -> bool:
        """Whether all of the text is UTF-8; if not, its characters cannot be counted."""
        return is_utf8(self.characters)

    def parts(self) -> Iterable[str]:
        """Its splits, each in memory."""
        return ("".join(self.texts(split)) for split in self.lengths())

    def token_ids(self, split: str, tokenizer: TextTokenizer) -> Iterator[Tensor]:
        """The token ids of each piece of a split, without characters that the vocabulary lacks."""
        unknown = str.maketrans("", "", tokenizer.without_unknown(self.characters)[1])
        return (tokenizer.encode(text.translate(unknown) if unknown else text) for text in self.texts(split))

    def as_data(
        self, tokenizer: TextTokenizer, *, block_size: int, device: torch.device, with_starts: bool = False
    ) -> Data:
        """The text in windows; `with_starts`: each with its place in the text, for a stage that remembers the text."""
        return TextData(self, tokenizer, block_size=block_size, with_starts=with_starts, device=device)

    def learned(self, tokenizer: type[Learned]) -> Learned:
        """A tokenizer that is learned from the training split. Raises RequestError if its library is not installed."""
        is_long = self.lengths()["train"] > LONG
        return tokenizer.trained_on(self.texts("train"), self.tokens.vocab_size, show_progress=is_long)


@dataclass(frozen=True)
class TextCorpus(Text):
    """A text in memory."""

    train: str
    val: str
    test: str = ""
    tokens: Tokens = field(default_factory=Tokens)

    @cached_property
    def characters(self) -> str:
        """Each character of the text, in ascending order."""
        return "".join(sorted(set().union(*self._splits().values())))

    def lengths(self) -> dict[str, int]:
        """The characters in each split."""
        return {name: len(text) for name, text in self._splits().items()}

    def texts(self, split: str) -> Iterable[str]:
        """A split as a whole."""
        return [self._splits()[split]]

    def encoded(self, tokenizer: TextTokenizer) -> dict[str, Ids]:
        """Its token ids, in memory."""
        return {name: torch.cat([*self.token_ids(name, tokenizer)]) for name in self._splits()}

    def _splits(self) -> dict[str, str]:
        return {name: text for name in SPLITS if (text := getattr(self, name)) or name != "test"}


@dataclass(frozen=True)
class PairCorpus(Corpus):
    """Sentence pairs: training, validation and test splits."""

    task = "translation.Translation"

    train: Pairs
    val: Pairs
    test: Pairs
    vocab_size: int  # the number of subwords to learn from the training pairs

    def parts(self) -> Iterable[str]:
        """Each split's name and pairs."""
        return (line for name in SPLITS for line in (name, *(f"{s}\t{t}" for s, t in getattr(self, name))))
