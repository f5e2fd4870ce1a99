"""What every tokenizer of a text does: text to token ids and back."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor


class Ids(Protocol):
    """Token ids, (N,): a tensor, or a file that is read like one."""

    device: torch.device

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        """The ids of a slice, or at some places: int64."""


class TextTokenizer(ABC):
    """Splits texts into tokens."""

    unit: ClassVar[str]  # what a token is, in a word
    is_complete: ClassVar[bool] = False  # whether it can encode every text
    joins_characters: ClassVar[bool] = False  # whether a token can be several characters, up to the next white space
    vocabulary: str | list[str]  # token i is entry i, in the form of tokenizer.json
    merges: list[tuple[str, str]] | None = None  # of subwords

    def __len__(self) -> int:
        return len(self.vocabulary)

    @property
    def name(self) -> str:
        """Another one for another vocabulary."""
        described = repr((self.vocabulary, self.merges)).encode(errors="surrogatepass")
        return f"{self.unit}s_{hashlib.sha256(described).hexdigest()[:16]}"

    @property
    @abstractmethod
    def shown(self) -> list[str]:
        """Each token as text; bytes that are not a whole character as <0xE2>."""

    @property
    @abstractmethod
    def sizes(self) -> Tensor:
        """The characters that begin in each token, and its bytes in UTF-8: (V, 2) int64."""

    @abstractmethod
    def encode(self, text: str) -> Tensor:
        """text -> (N,) int64 token ids. Raises RequestError for a character that it cannot encode."""

    @abstractmethod
    def encode_utf8(self, piece: bytes) -> np.ndarray:
        """A text in UTF-8 -> token ids, (N,) unsigned integers, without characters that it cannot encode."""

    @abstractmethod
    def without_unknown(self, text: str) -> tuple[str, str]:
        """The text without the characters that it cannot encode, and those characters, each once."""

    @abstractmethod
    def pieces(self, ids: Iterable[int]) -> Iterator[str]:
        """The text of each id as it comes; the first bytes of a character wait for the last ones."""

    def decode(self, ids: Iterable[int]) -> str:
        """Token ids (a list or a one-dimensional tensor) -> text. Bytes that are not UTF-8 become U+FFFD."""
        return "".join(self.pieces(ids))

    @abstractmethod
    def as_json(self) -> str:
        """The tokenizer in the format of the library `tokenizers`."""
