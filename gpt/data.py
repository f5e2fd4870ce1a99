"""A corpus as batches of windows."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from gpt.errors import RequestError
from gpt.sampling import sample_text
from gpt.seeding import generator
from gpt.tokenizer import CharTokenizer

IGNORED = -100  # a target that fills up a row and counts for nothing; what cross_entropy ignores unasked


@dataclass(frozen=True)
class Batch:
    """What a model is given and what it should have answered, row by row."""

    inputs: tuple[Tensor, ...]  # what the model's forward takes: (B, T) int64 token ids each
    targets: Tensor  # (B, T) int64 token ids
    tokens: int  # targets that are not IGNORED

    def split(self, parts: int) -> Iterator["Batch"]:
        """The same rows as `parts` batches of as many rows as can be."""
        if parts == 1:
            yield self
            return
        for i in range(parts):
            yield self.part(i, parts)

    def part(self, i: int, parts: int) -> "Batch":
        """Part i of `parts`: every so-manieth row, so that long and short rows are spread evenly."""
        targets = self.targets[i::parts]
        tokens = targets.numel() if self.tokens == self.targets.numel() else int((targets != IGNORED).sum())
        return Batch(tuple(x[i::parts] for x in self.inputs), targets, tokens)


class Data(Protocol):
    """What the loop and the evaluation ask of a corpus."""

    def training_batch(self, seed: int, iteration: int, batch_size: int) -> Batch:
        """Batch `iteration` of a run: a pure function of the seed and the iteration."""

    def epoch(self, seed: int, iteration: int, batch_size: int) -> int:
        """How often the training split was gone through before an iteration."""

    def estimation_batches(
        self, split: str, seed: int, iteration: int, eval_iters: int, batch_size: int, tokens_per_pass: int
    ) -> Iterable[Batch]:
        """What a loss is estimated on."""

    def every_target_once(self, split: str, tokens_per_pass: int) -> Iterable[Batch]:
        """All of a split."""

    def examples(self, model: nn.Module) -> list[str]:
        """Lines that show what a model has learnt, if a few lines can."""

    def sample(self, model: nn.Module, seed: int) -> str:
        """What a run leaves as its sample."""


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

    def batch(self, split: str, batch_size: int, draw: torch.Generator) -> Batch:
        """`batch_size` windows that start anywhere in the split, each place equally likely."""
        ids = self._splits[split]
        starts = torch.randint(len(ids) - self.block_size, (batch_size, 1), generator=draw)
        windows = ids[starts.to(ids.device, non_blocking=True) + self._window]  # (B, T + 1)
        return _text_batch(windows[:, :-1], windows[:, 1:])

    def training_batch(self, seed: int, iteration: int, batch_size: int) -> Batch:
        """Batch `iteration` of a run: a pure function of the seed and the iteration."""
        return self.batch("train", batch_size, generator(seed, "train", iteration))

    def epoch(self, seed: int, iteration: int, batch_size: int) -> int:  # noqa: ARG002
        """How often as many characters as the train split has were seen before an iteration."""
        return iteration * batch_size * self.block_size // self.tokens("train")

    def estimation_batches(
        self, split: str, seed: int, iteration: int, eval_iters: int, batch_size: int, tokens_per_pass: int
    ) -> Iterator[Batch]:
        """What a loss is estimated on: `eval_iters` random batches, joined and cut into passes of equal size."""
        draw = generator(seed, "evaluation", split, iteration)
        windows = eval_iters * batch_size
        passes = -(-windows // max(1, tokens_per_pass // self.block_size))
        for i in range(passes):
            yield self.batch(split, windows // passes + (i < windows % passes), draw)

    def examples(self, model: nn.Module) -> list[str]:  # noqa: ARG002
        """None: a text to look at is sampled at the end of the run."""
        return []

    def sample(self, model: nn.Module, seed: int) -> str:
        """500 characters from the model."""
        return sample_text(model, self.tokenizer, seed=seed)

    def every_target_once(self, split: str, tokens_per_pass: int) -> Iterator[Batch]:
        """The split as windows side by side: each of its characters but the first is a target exactly once.

        The last batch, and the last window on its own, may be shorter.
        """
        ids, T = self._splits[split], self.block_size
        whole = (len(ids) - 1) // T * T  # targets that fill whole windows
        inputs, targets = ids[:whole].view(-1, T), ids[1 : whole + 1].view(-1, T)
        rows = max(1, tokens_per_pass // T)
        yield from map(_text_batch, inputs.split(rows), targets.split(rows))
        if whole < len(ids) - 1:
            yield _text_batch(ids[None, whole:-1], ids[None, whole + 1 :])


def _text_batch(inputs: Tensor, targets: Tensor) -> Batch:
    return Batch((inputs,), targets, targets.numel())
