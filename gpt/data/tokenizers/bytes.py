"""Bytes: every file is a sequence of them, whatever it holds."""

import re

import numpy as np
import torch
from torch import Tensor

from gpt.data.byte_level import CHARACTERS, ByteLevel, library_tokenizer
from gpt.data.corpus import Text
from gpt.data.vocabulary import Vocabulary

_NO_BYTE = re.compile(r"[\ud800-\udc7f\udd00-\udfff]")  # unpaired surrogates that `surrogateescape` does not make


class ByteTokenizer(ByteLevel):
    """Token i is byte i."""

    unit = "byte"
    reads_bytes = True

    def __init__(self) -> None:
        super().__init__([CHARACTERS[byte] for byte in range(256)])
        self.merges = []

    @classmethod
    def built_for(cls, corpus: Text) -> "ByteTokenizer":  # noqa: ARG003
        """The same for every corpus."""
        return cls()

    @classmethod
    def restored(cls, vocabulary: Vocabulary) -> "ByteTokenizer":
        """Return the only byte tokenizer. Raises ValueError for any other vocabulary."""
        found = cls()
        if found.vocabulary != vocabulary.vocabulary:
            raise ValueError("it lacks bytes or has others")
        return found

    def encode(self, text: str) -> Tensor:
        """text -> (N,) int64: its bytes in UTF-8. Bytes that were read with `surrogateescape` are restored.

        Other unpaired surrogates, which UTF-8 cannot express, become question marks.
        """
        whole = _NO_BYTE.sub("?", text).encode(errors="surrogateescape")
        return torch.from_numpy(np.frombuffer(whole, np.uint8).astype(np.int64))

    def as_json(self) -> str:
        """Subwords without merges."""
        return library_tokenizer(self.vocabulary, self.merges or []).to_str()
