"""A corpus as batches of windows."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from gpt.errors import RequestError
from gpt.tokenizer import CharTokenizer


class Batch(NamedTuple):
    """What a model is given and what it should have answered, row by row."""

    inputs: Tensor  # (B, T) int64 token ids
    targets: Tensor  # (B, T) int64 token ids: the inputs' successors

    def split(self, size: int) -> Iterator["Batch"]:
        """The same rows as batches of `size` rows."""
        return map(Batch, self.inputs.split(size), self.targets.split(size))


class TextData:
    """A text cut into a train and a val split, and served as windows of T = block_size characters.

    The first `train_fraction` of the characters is the train split, the rest is the val split. Both live on
    `device`, so that a batch costs one indexing operation there.
    """

    def __init__(
        self, text: str, *, block_size: int, train_fraction: float, device: torch.device | str = "cpu"
    ) -> None:
        self.tokenizer = CharTokenizer(text)
        self.block_size = block_size
        ids = self.tokenizer.encode(text)
        boundary = int(train_fraction * len(ids))
        self._splits = {"train": ids[:boundary].to(device), "val": ids[boundary:].to(device)}
        self._window = torch.arange(block_size + 1, device=device)  # the inputs and, one further, the targets
        for name, split in self._splits.items():
            if len(split) <= block_size:
                raise RequestError(
                    f"the {name} split has {len(split):,} characters, too few for one window of "
                    f"model.block_size={block_size} and its successor: use a longer text or shorter windows"
                )

    def tokens(self, split: str) -> int:
        """The number of characters in a split."""
        return len(self._splits[split])

    def batch(self, split: str, batch_size: int, generator: torch.Generator) -> Batch:
        """`batch_size` windows that start anywhere in the split, each place equally likely."""
        ids = self._splits[split]
        starts = torch.randint(len(ids) - self.block_size, (batch_size, 1), generator=generator)
        windows = ids[starts.to(ids.device, non_blocking=True) + self._window]  # (B, T + 1)
        return Batch(windows[:, :-1], windows[:, 1:])

    def every_target_once(self, split: str, batch_size: int) -> Iterator[Batch]:
        """The split as windows side by side: each of its characters but the first is a target exactly once.

        The last batch, and the last window on its own, may be shorter.
        """
        ids, T = self._splits[split], self.block_size
        whole = (len(ids) - 1) // T * T  # targets that fill whole windows
        inputs, targets = ids[:whole].view(-1, T), ids[1 : whole + 1].view(-1, T)
        yield from Batch(inputs, targets).split(batch_size)
        if whole < len(ids) - 1:
            yield Batch(ids[None, whole:-1], ids[None, whole + 1 :])
