"""Characters to token ids and back."""

import functools
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from gpt.base.errors import RequestError
from gpt.data.corpus import Text
from gpt.data.tokenizer import TextTokenizer
from gpt.data.vocabulary import Vocabulary

_MOST_NAMED, _MOST_SHOWN = 10, 200  # characters in a message: missing ones, and the vocabulary's
CODE_POINTS = 0x110000  # of Unicode


class CharTokenizer(TextTokenizer):
    """Token i is the i-th character of the sorted vocabulary."""

    unit = "character"
    vocabulary: str

    def __init__(self, vocabulary: Iterable[str]) -> None:
        self.vocabulary = "".join(sorted(set(vocabulary)))

    @classmethod
    def built_for(cls, corpus: Text) -> "CharTokenizer":
        """The characters of all splits."""
        return cls(corpus.characters)

    @classmethod
    def restored(cls, vocabulary: Vocabulary) -> "CharTokenizer":
        """The tokenizer of a run. Raises ValueError if its vocabulary is not one of characters in order."""
        found = cls("".join(vocabulary.vocabulary))
        if list(found.vocabulary) != list(vocabulary.vocabulary):
            raise ValueError("its characters are not in order")
        return found

    def encode(self, text: str) -> Tensor:
        """text -> (len(text),) int64 token ids. Raises RequestError for a character not in the vocabulary."""
        ids = self._of_code_points[code_points(text)]
        unknown = ids == len(self)
        if unknown.any():
            characters = (text[i] for i in unknown.nonzero()[0])
            more = len(self) - _MOST_SHOWN
            rest = f" and {more:,} more" if more > 0 else ""
            raise RequestError(f"{lacking(characters)}, which is {self.vocabulary[:_MOST_SHOWN]!r}{rest}")
        return torch.from_numpy(ids)

    @functools.cached_property
    def _of_code_points(self) -> np.ndarray:
        """The id of every code point; a code point outside the vocabulary has its size, len(self)."""
        table = np.full(CODE_POINTS, len(self), np.int64)
        table[code_points(self.vocabulary)] = np.arange(len(self))
        return table

    def as_json(self) -> str:
        """The tokenizer in the format of the library `tokenizers`; it refuses a character not in the vocabulary."""
        from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers  # an optional library

        ids = {character: i for i, character in enumerate(self.vocabulary)}
        tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))  # <unk> is not in the vocabulary.
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        tokenizer.decoder = decoders.Fuse()
        return tokenizer.to_str()


def lacking(characters: Iterable[str]) -> str:
    """A message that these characters are not in the vocabulary; it names at most ten."""
    names = [f"{c!r} (U+{ord(c):04X})" for c in dict.fromkeys(characters)]
    if len(names) == 1:
        return f"the character {names[0]} is not in the vocabulary"
    shown = [*names[:_MOST_NAMED], *([f"{len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else [])]
    return f"the characters {', '.join(shown[:-1])} and {shown[-1]} are not in the vocabulary"


def code_points(text: str) -> np.ndarray:
    """The code point of each character, (len(text),) unsigned integers."""
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype="<u4")
