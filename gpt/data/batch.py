"""A batch, the protocol of a corpus served in batches, and one batch in place of a corpus."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

_ROWS = 4  # of one batch; some of many rows would begin alike and continue differently, and no model predicts that
IGNORED = -100  # the target of padding: cross_entropy ignores this value by default


@dataclass(frozen=True)
class Batch:
    """Model inputs and the targets they should predict, row by row."""

    inputs: tuple[Tensor, ...]  # the arguments of the model's forward: int64 token ids, one row per example
    targets: Tensor  # (B, T) int64 token ids
    tokens: int  # targets that are not IGNORED

    @classmethod
    def full(cls, inputs: Tensor, targets: Tensor) -> "Batch":
        """Rows of one text without padding: two times (B, T)."""
        return cls((inputs,), targets, targets.numel())

    def split(self, parts: int) -> Iterator["Batch"]:
        """The same rows as `parts` batches of nearly equal size."""
        return iter([self]) if parts == 1 else (self.part(i, parts) for i in range(parts))

    def part(self, i: int, parts: int) -> "Batch":
        """Every `parts`-th row, starting with row i, so that long and short rows are spread evenly."""
        targets = self.targets[i::parts]
        tokens = targets.numel() if self.tokens == self.targets.numel() else int((targets != IGNORED).sum())
        return Batch(tuple(x[i::parts] for x in self.inputs), targets, tokens)


@dataclass(frozen=True)
class Targets:
    """Batches for an evaluation."""

    batches: Iterable[Batch]
    count: int  # targets in these batches
    of: int  # targets of the whole split

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)


class Data(Protocol):
    """A corpus that is served in batches, as the loop and the evaluation see it."""

    estimated_over: str  # in words, what `estimation_batches` draws
    lengths_vary: bool  # whether training batches differ in shape, as those of sentence pairs do

    @property
    def sizes(self) -> Tensor | None:
        """Of a text: characters that begin in each token, and its bytes, (V, 2); bytes alone, (V, 1), if not UTF-8."""

    def training_batch(self, seed: int, iteration: int, batch_size: int) -> Batch:
        """Batch `iteration` of a run: a pure function of the seed and the iteration."""

    @property
    def epoch_tokens(self) -> float:
        """The targets in a complete pass over the training split; infinite for data without epochs."""

    def estimation_batches(
        self, split: str, seed: int, iteration: int, eval_iters: int, batch_size: int, tokens_per_pass: int
    ) -> Targets:
        """The batches for estimating a loss."""

    def every_target_once(self, split: str, tokens_per_pass: int, most: int | None = None) -> Targets:
        """Every target of a split exactly once, in batches of about `tokens_per_pass` tokens.

        A split with more than `most` targets gives a fixed sample of about that many, spread evenly.
        """

    def every_target_in_context(self, split: str, tokens_per_pass: int, most: int | None = None) -> Targets | None:
        """The same, each with at least half a window of context; None if the examples are not windows."""


class WrappedData:
    """The same batches as `data`; a subclass replaces some of them."""

    def __init__(self, data: Data) -> None:
        self._data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._data, name)


class OneBatch(WrappedData):
    """Train on a few rows of the first batch in every iteration, and estimate the training loss over the same rows.

    Any stage that can be trained at all memorises them.
    """

    def __init__(self, data: Data) -> None:
        super().__init__(data)
        self.estimated_over, self.epoch_tokens = "one training batch; for validation, as usual", math.inf

    def training_batch(self, seed: int, iteration: int, batch_size: int) -> Batch:  # noqa: ARG002
        """The same batch in every iteration."""
        batch = self._data.training_batch(seed, 0, batch_size)
        return batch.part(0, math.ceil(len(batch.targets) / _ROWS))

    def estimation_batches(
        self, split: str, seed: int, iteration: int, eval_iters: int, batch_size: int, tokens_per_pass: int
    ) -> Targets:
        """The batch itself for the training split."""
        if split == "train":
            batch = self.training_batch(seed, iteration, batch_size)
            return Targets([batch], batch.tokens, batch.tokens)
        return self._data.estimation_batches(split, seed, iteration, eval_iters, batch_size, tokens_per_pass)
