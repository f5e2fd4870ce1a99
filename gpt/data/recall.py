"""Texts made to test memory: each line is an example whose answer stands at its end, and only answers are targets.

Models that keep a state of constant size must hold on to what they read until it is asked for. Each line has letters of
its own, so memorising lines does not help.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from string import ascii_lowercase, digits
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gpt.base.errors import RequestError
from gpt.base.seeding import generator
from gpt.data.batch import IGNORED, Batch, Targets
from gpt.data.corpus import TextCorpus
from gpt.data.tokenizer import TextTokenizer

_MOST_CHARACTERS = 10**7
_PAUSE, _END = ".", "\n"

Examples = Annotated[int, Field(ge=100, le=200_000)]
Distance = Annotated[int, Field(ge=0, le=10_000)]


@dataclass(frozen=True)
class Lines(TextCorpus):
    """Lines of equal length, the last `answer` characters of which are targets."""

    answer: int = 1


def recall(pairs: Annotated[int, Field(ge=1, le=26)], distance: Distance, size: Examples) -> Lines:
    """Associative recall: letters, each followed by its digit, a pause, and one of the letters again, then its digit.

    As in "Using Fast Weights to Attend to the Recent Past" (Ba et al., 2016), section 4.1. Two pairs at a distance of
    three: "k3p0...k3". Raises RequestError for more than ten million characters.
    """

    def line(draw: random.Random) -> str:
        letters, numbers = draw.sample(ascii_lowercase, pairs), draw.choices(digits, k=pairs)
        asked = draw.randrange(pairs)
        told = "".join(letter + number for letter, number in zip(letters, numbers, strict=True))
        return told + _PAUSE * distance + letters[asked] + numbers[asked]

    return _lines(f"recall {pairs} {distance} {size}", line, size, answer=1)


def repeat(length: Annotated[int, Field(ge=1, le=1000)], distance: Distance, size: Examples) -> Lines:
    """Copying: `length` letters, a pause, a colon, and the letters again.

    As in "Long Short-Term Memory" (Hochreiter and Schmidhuber, 1997) and "Unitary Evolution Recurrent Neural Networks"
    (Arjovsky et al., 2016), section 5.1. Raises RequestError for more than ten million characters.
    """

    def line(draw: random.Random) -> str:
        letters = "".join(draw.choices(ascii_lowercase[:8], k=length))
        return f"{letters}{_PAUSE * distance}:{letters}"

    return _lines(f"repeat {length} {distance} {size}", line, size, answer=length)


def _lines(seed: str, line: Callable[[random.Random], str], size: int, answer: int) -> Lines:
    """`size` random lines, of which the last tenth is for validation."""
    draw = random.Random(seed)
    first = line(draw)
    if len(first) * size > _MOST_CHARACTERS:
        raise RequestError(
            f"{size:,} lines of {len(first):,} are more than {_MOST_CHARACTERS:,}: make data.size smaller"
        )
    lines = [first, *(line(draw) for _ in range(size - 1))]
    train, val = (_END.join([*part, ""]) for part in (lines[: -(size // 10)], lines[-(size // 10) :]))
    return Lines(train, val, answer=answer)


class LineData:
    """Random lines for training, all of them for the exact loss. Each is a window of its own."""

    estimated_over = "random lines"

    def __init__(self, corpus: Lines, tokenizer: TextTokenizer, *, block_size: int, device: torch.device | str) -> None:
        """Raises RequestError if a line does not fit into a window, or if its characters are not a token each."""
        length = corpus.val.index(_END)
        if length - 1 > block_size:
            raise RequestError(f"a line has {length - 1} characters before its last: raise model.block_size")
        encoded = corpus.encoded(tokenizer)
        if {split: len(ids) for split, ids in encoded.items()} != corpus.lengths():
            raise RequestError(
                "each character of these lines must be a token, but in the vocabulary of init= some are not: add "
                "unknown_characters=grow, or train without init="
            )
        self.sizes, self._answer = tokenizer.sizes, corpus.answer
        self._lines = {
            split: ids.view(-1, length + 1)[:, :length].to(device)  # (N, length)
            for split, ids in encoded.items()
            if isinstance(ids, Tensor)
        }

    def training_batch(self, seed: int, iteration: int, batch_size: int) -> Batch:
        """Batch `iteration` of a run: a pure function of the seed and the iteration."""
        return self._drawn("train", batch_size, generator(seed, "train", iteration))

    def epoch(self, tokens: int) -> int:
        """The number of complete passes over the training lines after training on this many targets."""
        return tokens // (self._answer * len(self._lines["train"]))

    def estimation_batches(
        self, split: str, seed: int, iteration: int, eval_iters: int, batch_size: int, tokens_per_pass: int
    ) -> Targets:
        """`eval_iters` random batches."""
        del tokens_per_pass
        draw = generator(seed, "evaluation", split, iteration)
        batches = (self._drawn(split, batch_size, draw) for _ in range(eval_iters))
        return Targets(batches, eval_iters * batch_size * self._answer, self._answer * len(self._lines[split]))

    def every_target_once(self, split: str, tokens_per_pass: int, most: int | None = None) -> Targets:
        """Each line once, or the first of them that have `most` targets."""
        lines = self._lines[split]
        chosen = lines if most is None else lines[: max(1, most // self._answer)]
        parts = chosen.split(max(1, tokens_per_pass // lines.shape[1]))
        return Targets(map(self._batch, parts), self._answer * len(chosen), self._answer * len(lines))

    def every_target_in_context(self, split: str, tokens_per_pass: int, most: int | None = None) -> None:
        """None: a line is a window of its own."""
        del split, tokens_per_pass, most

    def _drawn(self, split: str, batch_size: int, draw: torch.Generator) -> Batch:
        lines = self._lines[split]
        return self._batch(lines[torch.randint(len(lines), (batch_size,), generator=draw).to(lines.device)])

    def _batch(self, lines: Tensor) -> Batch:
        """These lines, (B, length), each of which predicts its answer."""
        targets = lines[:, 1:].clone()
        targets[:, : -self._answer] = IGNORED
        return Batch((lines[:, :-1],), targets, len(lines) * self._answer)
