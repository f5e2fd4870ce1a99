"""One batch instead of a corpus: any stage that can be trained at all memorises it."""

import math

from gpt.data.batch import Batch, Data, Targets, WrappedData

_ROWS = 4  # with many rows, some would begin alike and continue differently, which no model could predict


class OneBatch(WrappedData):
    """Train on a few rows of the first batch in every iteration, and estimate the training loss over the same rows."""

    def __init__(self, data: Data) -> None:
        super().__init__(data)
        self.estimated_over = "one training batch; for validation, as usual"

    def training_batch(self, seed: int, iteration: int, batch_size: int) -> Batch:  # noqa: ARG002
        """The same batch in every iteration."""
        batch = self._data.training_batch(seed, 0, batch_size)
        return batch.part(0, math.ceil(len(batch.targets) / _ROWS))

    def epoch(self, tokens: int) -> int:  # noqa: ARG002
        """0: no epoch is ever complete."""
        return 0

    def estimation_batches(
        self, split: str, seed: int, iteration: int, eval_iters: int, batch_size: int, tokens_per_pass: int
    ) -> Targets:
        """The batch itself for the training split."""
        if split == "train":
            batch = self.training_batch(seed, iteration, batch_size)
            return Targets([batch], batch.tokens, batch.tokens)
        return self._data.estimation_batches(split, seed, iteration, eval_iters, batch_size, tokens_per_pass)
