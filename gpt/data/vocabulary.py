"""What a tokenizer is built from, characters or subwords and their merges; and the characters that it lacks."""

import hashlib
import json
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from gpt.base.losses import LossScope
from gpt.base.record import Record, Total

PAD = 0  # the subword that pads sequences to equal length; no real token attends to it
_DIGITS = 16  # of a digest
LONG = 2**20  # characters of a text: learning subwords from more takes seconds
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]  # the first subwords


def parts_of(tokenizer: Any) -> tuple[list[str], list[tuple[str, str]] | None]:
    """The tokens by id and the merges, if any, of a tokenizer in the JSON of the library `tokenizers`.

    Raises ValueError, KeyError or TypeError if it is none.
    """
    model = tokenizer["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return tokens, [(first, second) for first, second in model["merges"]] if "merges" in model else None


class Vocabulary(Record):
    """tokenizer.json: the data of a tokenizer."""

    kind: Annotated[str, Field(pattern=r"^\w+$", max_length=60)]  # of tokenizer
    vocabulary: Annotated[str | list[str], Field(min_length=1, max_length=2**21)]  # token i is entry i
    merges: list[tuple[str, str]] | None = None  # of subwords
    corpus: Annotated[str, Field(max_length=100)]  # the digest of the run's corpus
    covers: bool | None = None  # whether it can encode the whole corpus; None if the corpus is not a text

    def over(self, split: str) -> LossScope:
        """What a loss of a model with these tokens is over, on a split of the run's corpus."""
        tokens = hashlib.sha256(json.dumps([self.kind, self.vocabulary, self.merges]).encode()).hexdigest()
        return LossScope(
            split=split, corpus=self.corpus[:_DIGITS], vocabulary=tokens[:_DIGITS], covers=bool(self.covers)
        )

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if len(set(self.vocabulary)) < len(self.vocabulary):
            raise ValueError("its vocabulary has a token twice")
        return self


class LeftOut(Record):
    """Characters of a text that the vocabulary lacks, by split: no loss counts them."""

    train: Total
    val: Total
    of_train: Total  # characters in the split, with these
    of_val: Total
    test: Total = 0
    of_test: Total = 0

    @property
    def count(self) -> int:
        """In all splits."""
        return self.train + self.val + self.test

    @property
    def share(self) -> float:
        """In the split that has more of them, from 0 to 1."""
        return max(self.train / max(1, self.of_train), self.val / max(1, self.of_val))

    def __str__(self) -> str:
        return f"{self.count:,} of {self.of_train + self.of_val + self.of_test:,} characters"
