"""A text, served as windows of T = block_size characters."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from gpt.base.errors import RequestError
from gpt.base.seeding import generator
from gpt.data.batch import Batch, Targets
from gpt.data.corpus import Text
from gpt.data.mapped import MappedIds
from gpt.data.tokenizer import Ids, TextTokenizer
from gpt.data.windows import Windows


class TextData:
    """Random windows for training, adjacent windows for the exact loss.

    Both splits live on `device`, so that a batch costs one indexing operation there; those of a long text stay in their
    files.
    """

    estimated_over = "random batches"

    def __init__(
        self,
        corpus: Text,
        tokenizer: TextTokenizer,
        *,
        block_size: int,
        with_starts: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        self.block_size, self._with_starts = block_size, with_starts
        self._device, self._splits = torch.device(device), corpus.encoded(tokenizer)
        self.sizes = tokenizer.sizes if corpus.is_utf8 else tokenizer.sizes[:, 1:]
        for name, ids in self._splits.items():
            if len(ids) <= block_size:
                units = f"{tokenizer.unit}s"
                raise RequestError(
                    f"the {name} split has {len(ids):,} {units}, too few for one window of "
                    f"model.block_size={block_size} {units} and the next: use a longer text or shorter windows"
                )
            if isinstance(ids, Tensor):
                self._splits[name] = ids.to(device)
        # Offsets of a window and of the token after it:
        self._window = torch.arange(block_size + 1, device=self._splits["train"].device)

    def ids(self, split: str) -> Ids:
        """The token ids of a split, (N,)."""
        return self._splits[split]

    def tokens(self, split: str) -> int:
        """The number of tokens in a split. Raises RequestError if the corpus has no such split."""
        return len(self._splits[split])

    def batch(self, split: str, batch_size: int, draw: torch.Generator) -> Batch:
        """`batch_size` windows at uniformly random positions of a split."""
        return self._at(split, _starts(self._splits[split], self.block_size, batch_size, draw), self.block_size)

    def training_batch(self, seed: int, iteration: int, batch_size: int) -> Batch:
        """Batch `iteration` of a run: a pure function of the seed and the iteration."""
        return self.training_windows(seed, iteration, batch_size, self.block_size)

    def training_windows(self, seed: int, iteration: int, rows: int, T: int) -> Batch:
        """The same with `rows` windows of T tokens, at uniformly random positions."""
        ids = self._splits["train"]
        return self.training_windows_at(lambda i: _starts(ids, T, rows, generator(seed, "train", i)), iteration, T)

    def training_windows_at(self, starts: Callable[[int], Tensor], iteration: int, T: int) -> Batch:
        """The windows of T tokens that begin at starts(iteration), (B, 1), in the training split."""
        ids = self._splits["train"]
        if isinstance(ids, MappedIds):  # the disk fetches the next batch while the model trains on this one
            ids.expect(starts(iteration + 1), T + 1)
        return self._at("train", starts(iteration), T)

    def epoch(self, tokens: int) -> int:
        """The number of complete passes over the training split after training on this many tokens."""
        return tokens // self.tokens("train")

    def estimation_batches(
        self, split: str, seed: int, iteration: int, eval_iters: int, batch_size: int, tokens_per_pass: int
    ) -> Targets:
        """`eval_iters` random batches, joined and cut into passes of equal size."""
        draw = generator(seed, "evaluation", split, iteration)
        windows = eval_iters * batch_size
        passes = -(-windows // max(1, tokens_per_pass // self.block_size))
        sizes = (windows // passes + (i < windows % passes) for i in range(passes))
        batches = (self.batch(split, size, draw) for size in sizes)
        return Targets(batches, windows * self.block_size, self.tokens(split) - 1)

    def every_target_once(self, split: str, tokens_per_pass: int, most: int | None = None) -> Targets:
        """The split as adjacent windows: each token except the first is a target exactly once."""
        return self._windows(split, tokens_per_pass, most).adjacent()

    def every_target_in_context(self, split: str, tokens_per_pass: int, most: int | None = None) -> Targets:
        """The split as overlapping windows: targets are the second half of each window, and all of the first window."""
        return self._windows(split, tokens_per_pass, most).sliding()

    def _windows(self, split: str, tokens_per_pass: int, most: int | None) -> Windows:
        located = partial(self._located, split)
        return Windows(self._splits[split], self.block_size, tokens_per_pass, most, located)

    def _at(self, split: str, starts: Tensor, T: int) -> Batch:
        """The windows of T tokens that begin at `starts`, (B, 1)."""
        ids = self._splits[split]
        starts = starts.to(ids.device, non_blocking=True)
        windows = ids.windows(starts, T + 1) if isinstance(ids, MappedIds) else ids[starts + self._window[: T + 1]]
        return self._located(split, Batch.full(windows[:, :-1], windows[:, 1:]), starts[:, 0])

    def _located(self, split: str, batch: Batch, starts: Tensor) -> Batch:
        """The batch on the model's device.

        It has the starts of its windows if it is from the training split and the model remembers that.
        """
        (inputs,), targets = batch.inputs, batch.targets
        with_starts = (starts.to(self._device),) if self._with_starts and split == "train" else ()
        return Batch((inputs.to(self._device), *with_starts), targets.to(self._device), batch.tokens)


def _starts(ids: Ids, T: int, batch_size: int, draw: torch.Generator) -> Tensor:
    """Where windows of T tokens start, uniformly random: (batch_size, 1)."""
    return torch.randint(len(ids) - T, (batch_size, 1), generator=draw)
