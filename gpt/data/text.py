"""A text, served as windows of T = block_size tokens: at random places, side by side in random order, or in order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from gpt.base.errors import RequestError
from gpt.base.seeding import generator
from gpt.data.batch import IGNORED, Batch, Data, Targets, WrappedData
from gpt.data.tokenizer import Ids, TextTokenizer


@dataclass(frozen=True)
class EvaluationWindows:
    """The windows of N >= 2 token ids to measure a loss in, in batches: each id but the first is a target once.

    With more than `most` targets, about that many are taken, in evenly spread windows.
    """

    ids: Ids  # (N,)
    block_size: int  # T, the inputs of a window
    tokens_per_pass: int  # about this many in a batch
    most: int | None = None
    located: Callable[[Batch, Tensor], Batch] = lambda batch, _: batch  # takes the starts of the windows, too

    def adjacent(self) -> Targets:
        """Each window predicts the token after each of its inputs, so its first targets have little context.

        The last batch may be smaller, and a shorter window may follow it.
        """
        return self._sample(self.block_size, 0) or Targets(self._all_adjacent(), self._last, self._last)

    def sliding(self) -> Targets:
        """Each window predicts its second half, so that each target has T / 2 tokens of context or more.

        The first window predicts both halves. For odd T, the second half is the longer one.
        """
        seen = self.block_size // 2
        step = self.block_size - seen
        starts = torch.arange(0, max(1, self._last - seen), step)
        whole = self._at(starts, torch.where(starts == 0, 0, seen))
        return self._sample(step, seen) or Targets(whole, self._last, self._last)

    @property
    def _last(self) -> int:
        """The last target, and the number of all of them."""
        return len(self.ids) - 1

    def _sample(self, step: int, seen: int) -> Targets | None:
        """About `most` targets in windows that start at multiples of `step`, without the first `seen` of each.

        None if that is all targets, or the text is shorter than a window.
        """
        if self.most is None or self._last <= max(self.most, self.block_size):
            return None
        places = (self._last - self.block_size) // step + 1
        count = min(max(1, self.most // step), places)
        starts = step * (torch.arange(count) * places // count)
        return Targets(self._at(starts, torch.full_like(starts, seen)), step * count, self._last)

    def _all_adjacent(self) -> Iterator[Batch]:
        full = self._last // self.block_size * self.block_size  # targets that fill complete windows
        starts = torch.arange(0, full, self.block_size)
        yield from self._at(starts, torch.zeros_like(starts))
        if full < self._last:
            part = self.ids[full:]
            batch = Batch.full(part[None, :-1], part[None, 1:])
            yield self.located(batch, torch.tensor([full], device=part.device))

    def _at(self, starts: Tensor, seen: Tensor) -> Iterator[Batch]:
        """The windows that begin at `starts`, (N,).

        The first `seen` tokens of each, (N,), and padding, zeros after the last input, are no targets.
        """
        T, rows, device = self.block_size, max(1, self.tokens_per_pass // self.block_size), self.ids.device
        for first in range(0, len(starts), rows):
            some, own = starts[first : first + rows, None], seen[first : first + rows, None]  # (B, 1)
            count = int((self._last - some).clamp(max=T).sub(own).sum())
            some, own = some.to(device), own.to(device)
            offsets = torch.arange(T, device=device)
            is_input = some + offsets < self._last  # (B, T)
            windows = self.ids[(some + torch.arange(T + 1, device=device)).clamp(max=self._last)]  # (B, T + 1)
            inputs = windows[:, :-1].where(is_input, 0)
            targets = windows[:, 1:].where(is_input & (offsets >= own), IGNORED)
            yield self.located(Batch((inputs,), targets, count), some[:, 0])


class Encodable(Protocol):
    """A text with its splits: see gpt.data.corpus.Text."""

    @property
    def characters(self) -> str:
        """Each character of it."""

    def encoded(self, tokenizer: TextTokenizer) -> dict[str, Ids]:
        """The token ids of each split."""


class TextData:
    """Random windows for training, adjacent windows for the exact loss.

    Splits live on `device`, so that a batch costs one indexing operation there. A long text stays in its files.
    """

    estimated_over = "random batches"
    lengths_vary = False

    def __init__(
        self,
        corpus: Encodable,
        tokenizer: TextTokenizer,
        *,
        block_size: int,
        with_starts: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        self.block_size, self._with_starts = block_size, with_starts
        self._device, self._splits = torch.device(device), corpus.encoded(tokenizer)
        self.sizes = tokenizer.sizes_in(corpus.characters)
        for name, ids in self._splits.items():
            if len(ids) <= block_size:
                units = f"{tokenizer.unit}s"
                raise RequestError(
                    f"the {name} split has {len(ids):,} {units}, too few for one window of "
                    f"model.block_size={block_size} {units} and the next: use a longer text or shorter windows"
                )
            if isinstance(ids, Tensor):
                self._splits[name] = ids.to(device)
        self.epoch_tokens = len(self._splits["train"])
        self._window = torch.arange(block_size + 1, device=self._splits["train"].device)  # offsets in a window

    def ids(self, split: str) -> Ids:
        """The token ids of a split, (N,)."""
        return self._splits[split]

    def batch(self, split: str, batch_size: int, draw: torch.Generator) -> Batch:
        """`batch_size` windows at uniformly random positions of a split."""
        return self.windows_at(split, _starts(self._splits[split], self.block_size, batch_size, draw), self.block_size)

    def training_batch(self, seed: int, iteration: int, batch_size: int) -> Batch:
        """Batch `iteration` of a run: a pure function of the seed and the iteration."""
        return self.training_windows(seed, iteration, batch_size, self.block_size)

    def training_windows(self, seed: int, iteration: int, rows: int, T: int) -> Batch:
        """The same with `rows` windows of T tokens, at uniformly random positions."""
        draw = generator(seed, "train", iteration)
        return self.windows_at("train", _starts(self._splits["train"], T, rows, draw), T)

    def windows_at(self, split: str, starts: Tensor, T: int) -> Batch:
        """The windows of T tokens that begin at `starts`, (B, 1)."""
        ids = self._splits[split]
        starts = starts.to(ids.device, non_blocking=True)
        windows = ids[starts + self._window[: T + 1]]  # (B, T + 1)
        return self._located(split, Batch.full(windows[:, :-1], windows[:, 1:]), starts[:, 0])

    def estimation_batches(
        self, split: str, seed: int, iteration: int, eval_iters: int, batch_size: int, tokens_per_pass: int
    ) -> Targets:
        """`eval_iters` random batches, joined and cut into passes of equal size."""
        draw = generator(seed, "evaluation", split, iteration)
        windows = eval_iters * batch_size
        passes = -(-windows // max(1, tokens_per_pass // self.block_size))
        sizes = (windows // passes + (i < windows % passes) for i in range(passes))
        batches = (self.batch(split, size, draw) for size in sizes)
        return Targets(batches, windows * self.block_size, len(self._splits[split]) - 1)

    def every_target_once(self, split: str, tokens_per_pass: int, most: int | None = None) -> Targets:
        """The split as adjacent windows: each token except the first is a target exactly once."""
        return self._windows(split, tokens_per_pass, most).adjacent()

    def every_target_in_context(self, split: str, tokens_per_pass: int, most: int | None = None) -> Targets:
        """The split as overlapping windows: targets are the second half of each window, and all of the first window."""
        return self._windows(split, tokens_per_pass, most).sliding()

    def _windows(self, split: str, tokens_per_pass: int, most: int | None) -> EvaluationWindows:
        return EvaluationWindows(
            self._splits[split], self.block_size, tokens_per_pass, most, partial(self._located, split)
        )

    def _located(self, split: str, batch: Batch, starts: Tensor) -> Batch:
        """The batch on the model's device, with the starts of training windows for a model that remembers the split."""
        (inputs,), targets = batch.inputs, batch.targets
        with_starts = (starts.to(self._device),) if self._with_starts and split == "train" else ()
        return Batch((inputs.to(self._device), *with_starts), targets.to(self._device), batch.tokens)


def _starts(ids: Ids, T: int, batch_size: int, draw: torch.Generator) -> Tensor:
    """Where windows of T tokens start, uniformly random: (batch_size, 1)."""
    return torch.randint(len(ids) - T, (batch_size, 1), generator=draw)


class ShuffledWindows(WrappedData):
    """A text cut into adjacent windows, each read once an epoch, in random order.

    The same number of windows at random positions would miss a third of the text. The first window of an epoch begins
    at a random position below T, so that the text is cut differently each time.
    """

    def __init__(self, data: Data) -> None:
        """Raises RequestError if `data` is not a text."""
        if not isinstance(data, TextData):
            raise RequestError("training.windows=shuffled is for texts: this corpus has no windows")
        super().__init__(data)
        self._text, self.block_size = data, data.block_size
        self._orders: dict[tuple[int, int, int], Tensor] = {}  # of the last two epochs

    def training_batch(self, seed: int, iteration: int, batch_size: int) -> Batch:
        """Batch `iteration` of a run: a pure function of the seed and the iteration."""
        return self.training_windows(seed, iteration, batch_size, self.block_size)

    def training_windows(self, seed: int, iteration: int, rows: int, T: int) -> Batch:
        """The same with `rows` windows of T tokens."""
        return self._text.windows_at("train", self._starts(seed, iteration, rows, T), T)

    def _starts(self, seed: int, iteration: int, rows: int, T: int) -> Tensor:
        """Where the windows of a batch begin, (rows, 1)."""
        n = self._in_epoch(T)
        places = iteration * rows + torch.arange(rows)  # in the concatenated orders of all epochs
        epochs = range(int(places[0]) // n, int(places[-1]) // n + 1)
        return torch.cat([self._order(seed, epoch, T)[places[places // n == epoch] % n] for epoch in epochs])[:, None]

    def _order(self, seed: int, epoch: int, T: int) -> Tensor:
        """Where the windows of an epoch begin, in the order in which they are read: (N,)."""
        key = (seed, epoch, T)
        if key not in self._orders:
            draw, n = generator(seed, "epoch", epoch, T), self._in_epoch(T)
            shift = torch.randint(min(T, self._text.epoch_tokens - n * T), (1,), generator=draw)
            last = list(self._orders.items())[-1:]
            self._orders = dict([*last, (key, shift + T * torch.randperm(n, generator=draw))])
        return self._orders[key]

    def _in_epoch(self, T: int) -> int:
        """How many windows of T tokens and the token after each fit into the text, wherever the first begins."""
        return max(1, self._text.epoch_tokens // T - 1)


class ShortWindows(WrappedData):
    """A text whose first batches have more and shorter windows, with as many tokens in all.

    Source: "Shortformer" (Press et al., 2021), section 3.
    """

    def __init__(self, data: Data, length: int, iterations: int) -> None:
        """Raises RequestError if `data` is not a text, or if `length` does not divide its windows."""
        if not isinstance(data, TextData | ShuffledWindows):
            raise RequestError(f"training.short_window={length} is for texts: this corpus has no windows")
        if data.block_size % length:
            raise RequestError(
                f"training.short_window={length} must divide model.block_size={data.block_size}: "
                "a batch keeps its number of tokens"
            )
        super().__init__(data)
        self._text, self._length, self._iterations = data, length, iterations

    def training_batch(self, seed: int, iteration: int, batch_size: int) -> Batch:
        """Batch `iteration` of a run: a pure function of the seed and the iteration."""
        if iteration >= self._iterations:
            return self._data.training_batch(seed, iteration, batch_size)
        rows = batch_size * self._text.block_size // self._length
        return self._text.training_windows(seed, iteration, rows, self._length)
