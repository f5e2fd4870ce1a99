"""Words: the most frequent ones of the training split; every other one is spelled in characters."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache

import torch
from torch import Tensor

from gpt.base.errors import RequestError
from gpt.data.byte_level import imported_library
from gpt.data.corpus import Text
from gpt.data.tokenizer import LearnedTokenizer
from gpt.data.tokenizers.characters import lacking

# Letters, combining marks (for Hindi and decomposed accents), numbers and underscores. A space belongs to the word
# after it. For the library, and for gpt/playground/page/encoding.js:
_OF_LIBRARY = r" ?[\p{L}\p{M}\p{N}_]+|[^\p{L}\p{M}\p{N}_]"
_LAST_MARK = 0xE01EF


@cache
def _pattern() -> re.Pattern[str]:
    r"""The same for Python, whose \w has no combining marks."""
    marks = "".join(c for c in map(chr, range(0x300, _LAST_MARK + 1)) if unicodedata.category(c).startswith("M"))
    return re.compile(rf" ?[\w{marks}]+|[^\w{marks}]")


class Words(LearnedTokenizer):
    """Characters, then words of several characters."""

    unit = "word"
    vocabulary: list[str]

    def __init__(self, vocabulary: list[str]) -> None:
        self.vocabulary, self.merges = vocabulary, []
        self._ids = {token: i for i, token in enumerate(vocabulary)}

    @classmethod
    def built_for(cls, corpus: Text) -> "Words":
        """The tokenizer with the characters of all splits, in addition to the learned vocabulary."""
        found = super().built_for(corpus)
        return cls([*found.vocabulary, *(c for c in corpus.characters if c not in found._ids)])

    @classmethod
    def trained_on(cls, texts: Iterable[str], vocab_size: int, *, show_progress: bool = False) -> "Words":
        """All characters, and as many words as there is room for."""
        del show_progress  # takes no longer than reading
        words = Counter(word for text in texts for word in _pattern().findall(text))
        characters = sorted(set("".join(words)))
        frequent = [word for word, _ in words.most_common() if len(word) > 1]
        return cls([*characters, *frequent[: max(0, vocab_size - len(characters))]])

    def encode(self, text: str) -> Tensor:
        """text -> (N,) int64 token ids. Raises RequestError for a character not in the vocabulary."""
        if unknown := self.without_unknown(text)[1]:
            raise RequestError(lacking(unknown))
        words = ([word] if word in self._ids else word for word in _pattern().findall(text))
        return torch.tensor([self._ids[token] for tokens in words for token in tokens], dtype=torch.int64)

    def as_json(self) -> str:
        """Byte-pair encoding without merges: a word in the vocabulary is taken whole, any other is split up."""
        library = imported_library()
        tokenizer = library.Tokenizer(library.models.BPE(vocab=self._ids, merges=[], ignore_merges=True))
        tokenizer.pre_tokenizer = library.pre_tokenizers.Split(library.Regex(_OF_LIBRARY), "isolated")
        tokenizer.decoder = library.decoders.Fuse()
        return tokenizer.to_str()
