"""What every tokenizer of a text does: text to token ids and back."""

import functools
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor

from gpt.base.errors import RequestError
from gpt.data.vocabulary import Vocabulary


class Ids(Protocol):
    """Token ids, (N,): a tensor, or a file that is read like one."""

    device: torch.device

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        """The ids of a slice, or at some places: int64."""


class TextTokenizer(ABC):
    """Splits texts into tokens: by default, strings of characters, as `vocabulary` lists them."""

    unit: ClassVar[str]  # what a token is, in a word
    is_complete: ClassVar[bool] = False  # whether it can encode every text
    reads_bytes: ClassVar[bool] = False  # whether it also encodes bytes that are not UTF-8
    vocabulary: str | list[str]  # token i is entry i, in the form of tokenizer.json
    merges: list[tuple[str, str]] | None = None  # of subwords

    @classmethod
    @abstractmethod
    def built_for(cls, corpus: Any) -> Self:
        """The tokenizer for a corpus, a `Text`. Raises RequestError if its library is not installed."""

    @classmethod
    def restored(cls, vocabulary: Vocabulary) -> Self:
        """The tokenizer of a run, from its vocabulary alone. Raises ValueError if the vocabulary is damaged."""
        return cls(vocabulary.vocabulary)  # type: ignore[call-arg]

    def __len__(self) -> int:
        return len(self.vocabulary)

    @property
    def kind(self) -> str:
        """What `data.tokenizer=` and tokenizer.json call it."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def name(self) -> str:
        """A name that differs between vocabularies."""
        described = repr((self.vocabulary, self.merges)).encode(errors="surrogatepass")
        return f"{self.unit}s_{hashlib.sha256(described).hexdigest()[:16]}"

    @functools.cached_property
    def shown(self) -> list[str]:
        """Each token as text; bytes that are not a whole character as <0xE2>."""
        return list(self.vocabulary)

    @functools.cached_property
    def sizes(self) -> Tensor:
        """The characters that begin in each token, and its bytes in UTF-8: (V, 2) int64."""
        return torch.tensor([(len(token), len(token.encode(errors="surrogatepass"))) for token in self.vocabulary])

    def sizes_in(self, text: str) -> Tensor:
        """`sizes`; the bytes alone, (V, 1), for a text that is not UTF-8, because its characters are unknown."""
        return self.sizes if is_utf8(text) else self.sizes[:, 1:]

    @abstractmethod
    def encode(self, text: str) -> Tensor:
        """text -> (N,) int64 token ids. Raises RequestError for a character that it cannot encode."""

    def without_unknown(self, text: str) -> tuple[str, str]:
        """The text without the characters that it cannot encode, and those characters, each once."""
        unknown = "".join(sorted(set(text) - set(self.vocabulary)))
        return (text.translate(dict.fromkeys(map(ord, unknown))) if unknown else text), unknown

    def pieces(self, ids: Iterable[int]) -> Iterator[str]:
        """The text of each id as it comes; the first bytes of a character wait for the last ones."""
        return (self.vocabulary[int(i)] for i in ids)

    def decode(self, ids: Iterable[int]) -> str:
        """Token ids (a list or a one-dimensional tensor) -> text. Bytes that are not UTF-8 become U+FFFD."""
        return "".join(self.pieces(ids))

    def as_json(self) -> str:
        """The tokenizer in the format of the library `tokenizers`. Raises RequestError if it has none."""
        raise RequestError(f"a tokenizer of {self.unit}s cannot be exported for other programs")


def is_utf8(text: str) -> bool:
    """Whether a text has no surrogates: `surrogateescape` reads bytes that are not UTF-8 as these."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class LearnedTokenizer(TextTokenizer):
    """A tokenizer whose vocabulary is learned from the training split."""

    @classmethod
    @abstractmethod
    def trained_on(cls, texts: Iterable[str], vocab_size: int, *, show_progress: bool = False) -> Self:
        """Learn up to `vocab_size` tokens. Raises RequestError if a library is not installed."""

    @classmethod
    def built_for(cls, corpus: Any) -> Self:
        """The tokenizer for a corpus. A text that is too large for memory keeps it."""
        found: Self = corpus.learned(cls)
        return found
