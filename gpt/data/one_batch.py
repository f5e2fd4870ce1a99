"""One batch instead of a corpus: whatever can be trained at all learns it by heart."""

import math
from collections.abc import Iterable

from gpt.data.batch import Batch, Data

_ROWS = 4  # of many rows, several begin alike and go on differently, and no model could tell how


class OneBatch:
    """Trains on a few rows of the first batch again and again, and estimates the training loss over the same rows."""

    def __init__(self, data: Data) -> None:
        self._data = data
        self.estimated_over = "one training batch; for validation, as usual"

    def training_batch(self, seed: int, iteration: int, batch_size: int) -> Batch:  # noqa: ARG002
        """The same in every iteration."""
        batch = self._data.training_batch(seed, 0, batch_size)
        return batch.part(0, math.ceil(len(batch.targets) / _ROWS))

    def epoch(self, seed: int, iteration: int, batch_size: int) -> int:  # noqa: ARG002
        """None is ever complete."""
        return 0

    def estimation_batches(
        self, split: str, seed: int, iteration: int, eval_iters: int, batch_size: int, tokens_per_pass: int
    ) -> Iterable[Batch]:
        """The batch itself for the training split."""
        if split == "train":
            return [self.training_batch(seed, iteration, batch_size)]
        return self._data.estimation_batches(split, seed, iteration, eval_iters, batch_size, tokens_per_pass)

    def every_target_once(self, split: str, tokens_per_pass: int) -> Iterable[Batch]:
        """As of the corpus."""
        return self._data.every_target_once(split, tokens_per_pass)

    def every_target_in_context(self, split: str, tokens_per_pass: int) -> Iterable[Batch] | None:
        """As of the corpus."""
        return self._data.every_target_in_context(split, tokens_per_pass)
