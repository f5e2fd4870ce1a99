"""Characters to token ids and back."""

from collections.abc import Iterable

import torch
from torch import Tensor

from gpt.errors import RequestError


class CharTokenizer:
    """Token i is the i-th character of the sorted vocabulary."""

    def __init__(self, vocabulary: Iterable[str]) -> None:
        self.vocabulary = "".join(sorted(set(vocabulary)))
        self._ids = {character: i for i, character in enumerate(self.vocabulary)}

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str) -> Tensor:
        """text -> (len(text),) int64 token ids. Raises RequestError for a character not in the vocabulary."""
        try:
            return torch.tensor([self._ids[character] for character in text], dtype=torch.int64)
        except KeyError as error:
            character = error.args[0]
            raise RequestError(
                f"the character {character!r} (U+{ord(character):04X}) is not in the vocabulary, "
                f"which is {self.vocabulary!r}"
            ) from None

    def decode(self, ids: Iterable[int]) -> str:
        """Token ids (a list or a one-dimensional tensor) -> text."""
        return "".join(self.vocabulary[int(i)] for i in ids)
