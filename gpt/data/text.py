"""A text, served as windows of T = block_size characters."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from gpt.base.errors import RequestError
from gpt.base.seeding import generator
from gpt.data.batch import IGNORED, Batch
from gpt.data.characters import CharTokenizer, Ids
from gpt.data.corpus import Text


class TextData:
    """Random windows for training, adjacent windows for the exact loss.

    Both splits live on `device`, so that a batch costs one indexing operation there; those of a long text stay in their
    files.
    """

    estimated_over = "random batches"

    def __init__(
        self,
        corpus: Text,
        tokenizer: CharTokenizer,
        *,
        block_size: int,
        with_starts: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        self.block_size, self._with_starts = block_size, with_starts
        self._device, self._splits = torch.device(device), corpus.encoded(tokenizer)
        for name, ids in self._splits.items():
            if len(ids) <= block_size:
                raise RequestError(
                    f"the {name} split has {len(ids):,} characters, too few for one window of "
                    f"model.block_size={block_size} characters and the next: use a longer text or shorter windows"
                )
            if isinstance(ids, Tensor):
                self._splits[name] = ids.to(device)
        # Offsets of a window and of the token after it:
        self._window = torch.arange(block_size + 1, device=self._splits["train"].device)

    def ids(self, split: str) -> Ids:
        """The token ids of a split, (N,)."""
        return self._splits[split]

    def tokens(self, split: str) -> int:
        """The number of characters in a split."""
        return len(self._splits[split])

    def batch(self, split: str, batch_size: int, draw: torch.Generator, T: int | None = None) -> Batch:
        """`batch_size` windows of T characters, by default block_size, at uniformly random positions of the split."""
        ids, T = self._splits[split], T or self.block_size
        starts = torch.randint(len(ids) - T, (batch_size, 1), generator=draw).to(ids.device, non_blocking=True)
        windows = ids[starts + self._window[: T + 1]].to(self._device)  # (B, T + 1)
        return self._located(split, _batch(windows[:, :-1], windows[:, 1:]), starts[:, 0])

    def training_batch(self, seed: int, iteration: int, batch_size: int) -> Batch:
        """Batch `iteration` of a run: a pure function of the seed and the iteration."""
        return self.batch("train", batch_size, generator(seed, "train", iteration))

    def epoch(self, tokens: int) -> int:
        """The number of complete passes over the training split after training on this many characters."""
        return tokens // self.tokens("train")

    def estimation_batches(
        self, split: str, seed: int, iteration: int, eval_iters: int, batch_size: int, tokens_per_pass: int
    ) -> Iterator[Batch]:
        """`eval_iters` random batches, joined and cut into passes of equal size."""
        draw = generator(seed, "evaluation", split, iteration)
        windows = eval_iters * batch_size
        passes = -(-windows // max(1, tokens_per_pass // self.block_size))
        for i in range(passes):
            yield self.batch(split, windows // passes + (i < windows % passes), draw)

    def every_target_once(self, split: str, tokens_per_pass: int) -> Iterator[Batch]:
        """The split as adjacent windows: each character except the first is a target exactly once."""
        windows = adjacent_windows(self._splits[split], self.block_size, tokens_per_pass)
        return self._all_located(split, map(self._moved, windows))

    def every_target_in_context(self, split: str, tokens_per_pass: int) -> Iterator[Batch]:
        """The split as overlapping windows: targets are the second half of each window, and all of the first window."""
        T = self.block_size
        windows = sliding_windows(self._splits[split], T, tokens_per_pass)
        return self._all_located(split, map(self._moved, windows), step=T - T // 2)

    def _moved(self, batch: Batch) -> Batch:
        """The batch on the device of the model."""
        (inputs,), targets = batch.inputs, batch.targets
        return replace(batch, inputs=(inputs.to(self._device),), targets=targets.to(self._device))

    def _all_located(self, split: str, batches: Iterator[Batch], step: int | None = None) -> Iterator[Batch]:
        """Batches of windows that begin `step` tokens apart, starting with the first token; adjacent by default."""
        start = 0
        for batch in batches:
            B, T = batch.targets.shape
            starts = start + torch.arange(B, device=batch.targets.device) * (step or T)
            yield self._located(split, batch, starts)
            start += B * (step or T)

    def _located(self, split: str, batch: Batch, starts: Tensor) -> Batch:
        """The batch, with the starts of its windows if it is from the training split and the model remembers that."""
        if not self._with_starts or split != "train":
            return batch
        return replace(batch, inputs=(*batch.inputs, starts))


def adjacent_windows(ids: Ids, block_size: int, tokens_per_pass: int) -> Iterator[Batch]:
    """Token ids, (N,) with N >= 2, as adjacent windows: each id except the first is a target exactly once.

    A window of `block_size` = T inputs predicts the token after each of them, so its first targets have little context.
    The last batch may be smaller, and a shorter window may follow it.
    """
    T = block_size
    full = (len(ids) - 1) // T * T  # targets that fill complete windows
    in_pass = max(1, tokens_per_pass // T) * T
    for first in range(0, full, in_pass):
        part = ids[first : min(first + in_pass, full) + 1]
        yield _batch(part[:-1].view(-1, T), part[1:].view(-1, T))
    if full < len(ids) - 1:
        part = ids[full:]
        yield _batch(part[None, :-1], part[None, 1:])


def sliding_windows(ids: Ids, block_size: int, tokens_per_pass: int) -> Iterator[Batch]:
    """Token ids, (N,) with N >= 2, as windows that overlap by half: each id except the first is a target exactly once.

    Only the second half of a window is predicted, so that each target has T / 2 tokens of context or more, T =
    block_size; in the first window, both halves are. For odd T, the second half is the longer one.
    """
    T, N = block_size, len(ids)
    step = T - T // 2
    starts = range(0, max(1, N - 1 - T // 2), step)
    for first in range(0, len(starts), rows := max(1, tokens_per_pass // T)):
        inputs, targets = [], []
        for start in starts[first : first + rows]:
            end = min(start + T, N - 1)
            window = ids[start : end + 1]
            seen = T // 2 if start else 0
            inputs.append(pad(window[:-1], (0, start + T - end)))
            targets.append(pad(window[1 + seen :], (seen, start + T - end), value=IGNORED))
        joined = torch.stack(targets)
        yield Batch((torch.stack(inputs),), joined, int((joined != IGNORED).sum()))


def _batch(inputs: Tensor, targets: Tensor) -> Batch:
    return Batch((inputs,), targets, targets.numel())
