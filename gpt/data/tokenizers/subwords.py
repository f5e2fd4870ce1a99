"""Byte-level subwords, learned from the training split or given."""

import json
import sys
from collections.abc import Iterable
from typing import Self

import torch
from torch import Tensor

from gpt.data.byte_level import BYTES, ByteLevel, imported_library, library_tokenizer
from gpt.data.tokenizer import LearnedTokenizer
from gpt.data.vocabulary import Vocabulary, parts_of

# GPT-2's words, long ones in parts: learning takes time quadratic in the length of the longest word, and a text without
# spaces is one word.
LONGEST_WORD = 1024  # characters
_MOST = f"{{1,{LONGEST_WORD}}}"
_WORD = (
    rf"'s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}{_MOST}| ?\p{{N}}{_MOST}| ?[^\s\p{{L}}\p{{N}}]{_MOST}"
    rf"|\s{_MOST}(?!\S)|\s{_MOST}"
)


class BytePairs(ByteLevel, LearnedTokenizer):
    """Token i is entry i of the vocabulary, which the merges build from single bytes."""

    unit = "subword"

    def __init__(self, vocabulary: list[str], merges: list[tuple[str, str]]) -> None:
        """Raises ValueError if they do not fit each other, RequestError if the library is not installed."""
        super().__init__(vocabulary)
        self.merges, self._tokenizer = merges, library_tokenizer(vocabulary, merges)

    @classmethod
    def restored(cls, vocabulary: Vocabulary) -> Self:
        """The tokenizer of a run. Raises ValueError if it is not one of subwords."""
        return cls(list(vocabulary.vocabulary), vocabulary.merges or [])

    @classmethod
    def trained_on(cls, texts: Iterable[str], vocab_size: int, *, show_progress: bool = False) -> Self:
        """Learn up to `vocab_size` subwords, of at least 256. Raises RequestError if the library is not installed."""
        tokenizer, library = library_tokenizer([], []), imported_library()
        words = library.pre_tokenizers.Split(library.Regex(_WORD), "isolated")
        as_bytes = library.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = library.pre_tokenizers.Sequence([words, as_bytes])
        trainer = library.trainers.BpeTrainer(
            vocab_size=vocab_size,
            initial_alphabet=sorted(BYTES),
            special_tokens=[],
            show_progress=show_progress and sys.stderr.isatty(),  # elsewhere the library prints empty lines
        )
        tokenizer.train_from_iterator(texts, trainer)
        vocabulary, merges = parts_of(json.loads(tokenizer.to_str()))
        return cls(vocabulary, merges or [])

    def encode(self, text: str) -> Tensor:
        """text -> (N,) int64 token ids."""
        whole = text.encode(errors="replace").decode()  # without unpaired surrogates
        return torch.tensor(self._tokenizer.encode(whole).ids, dtype=torch.int64)

    def as_json(self) -> str:
        """The tokenizer in the format of the library `tokenizers`."""
        return self._tokenizer.to_str()
