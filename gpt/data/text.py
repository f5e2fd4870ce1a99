"""A text, served as windows of T = block_size tokens: at random places, side by side in random order, or in order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import pad

from gpt.base.errors import RequestError
from gpt.base.seeding import generator
from gpt.data.batch import IGNORED, Batch, Data, Targets, WrappedData
from gpt.data.corpus import Text
from gpt.data.long_text import MappedIds
from gpt.data.tokenizer import Ids, TextTokenizer

_MOST = 10**8  # windows in an epoch, whose order takes 8 bytes each


def _unchanged(batch: Batch, starts: Tensor) -> Batch:
    del starts
    return batch


@dataclass(frozen=True)
class Windows:
    """The windows of N >= 2 token ids, in batches: each id except the first is a target exactly once.

    Of more than `most` targets, about that many are taken, in evenly spread windows.
    """

    ids: Ids  # (N,)
    block_size: int  # T, the inputs of a window
    tokens_per_pass: int  # about this many in a batch
    most: int | None = None
    located: Callable[[Batch, Tensor], Batch] = _unchanged  # is given each batch and the starts of its windows

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
        return self._sample(self.block_size - seen, seen) or Targets(self._all_sliding(), self._last, self._last)

    @property
    def _last(self) -> int:
        """The last target, and the number of all of them."""
        return len(self.ids) - 1

    @property
    def _rows(self) -> int:
        return max(1, self.tokens_per_pass // self.block_size)

    def _sample(self, step: int, seen: int) -> Targets | None:
        """`most` targets in windows that lie a multiple of `step` apart, without the first `seen` of each.

        None if that would be all of them, or less than a window.
        """
        if self.most is None or self._last <= max(self.most, self.block_size):
            return None
        places = (self._last - self.block_size) // step + 1
        starts = step * _spread(max(1, self.most // step), places)
        return Targets(self._at(starts, seen), step * len(starts), self._last)

    def _all_adjacent(self) -> Iterator[Batch]:
        T, last = self.block_size, self._last
        full = last // T * T  # targets that fill complete windows
        if full:  # a text can be shorter than a window
            yield from self._at(torch.arange(0, full, T), 0)
        if full < last:
            part = self.ids[full:]
            starts = torch.tensor([full], device=part.device)
            yield self.located(Batch.full(part[None, :-1], part[None, 1:]), starts)

    def _all_sliding(self) -> Iterator[Batch]:
        T, last = self.block_size, self._last
        starts = range(0, max(1, last - T // 2), T - T // 2)
        for first in range(0, len(starts), rows := self._rows):
            inputs, targets = [], []
            for start in starts[first : first + rows]:
                end = min(start + T, last)
                window = self.ids[start : end + 1]
                seen = T // 2 if start else 0
                inputs.append(pad(window[:-1], (0, start + T - end)))
                targets.append(pad(window[1 + seen :], (seen, start + T - end), value=IGNORED))
            joined = torch.stack(targets)
            batch = Batch((torch.stack(inputs),), joined, int((joined != IGNORED).sum()))
            yield self.located(batch, torch.tensor(starts[first : first + rows], device=joined.device))

    def _at(self, starts: Tensor, seen: int) -> Iterator[Batch]:
        """The windows that begin at `starts`, (N,); the first `seen` tokens of a window are no targets."""
        for some in starts.to(self.ids.device).split(self._rows):
            windows = self.ids[some[:, None] + torch.arange(self.block_size + 1, device=self.ids.device)]  # (B, T + 1)
            targets = windows[:, 1:].clone() if seen else windows[:, 1:]
            targets[:, :seen] = IGNORED
            count = len(some) * (self.block_size - seen)
            yield self.located(Batch((windows[:, :-1],), targets, count), some)


def _spread(count: int, places: int) -> Tensor:
    """`count` of the numbers from 0 to `places` - 1, evenly spread: (count,)."""
    return torch.arange(min(count, places)) * places // min(count, places)


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


class ShuffledWindows(WrappedData):
    """A text cut into windows side by side, each of which is read once an epoch, in random order.

    Random positions would leave out a third of the text in as many windows, and read other parts several times. The
    windows of an epoch begin at a random position below T, so that they are cut differently each time.
    """

    def __init__(self, data: Data) -> None:
        """Raises RequestError if `data` is not a text."""
        if not isinstance(data, TextData):
            raise RequestError("training.windows=shuffled is for texts: this corpus has no windows")
        super().__init__(data)
        self._text, self.block_size = data, data.block_size
        self._orders: dict[tuple[int, int, int], Tensor] = {}  # those of the last two epochs

    def training_batch(self, seed: int, iteration: int, batch_size: int) -> Batch:
        """Batch `iteration` of a run: a pure function of the seed and the iteration."""
        return self.training_windows(seed, iteration, batch_size, self.block_size)

    def training_windows(self, seed: int, iteration: int, rows: int, T: int) -> Batch:
        """The same with `rows` windows of T tokens."""
        return self._text.training_windows_at(lambda i: self._starts(seed, i, rows, T), iteration, T)

    def _starts(self, seed: int, iteration: int, rows: int, T: int) -> Tensor:
        """Where the windows of a batch begin, (rows, 1)."""
        n = self._in_epoch(T)
        # In the orders of all epochs, one after another.
        places = torch.arange(iteration * rows, (iteration + 1) * rows)
        parts = [
            self._order(seed, epoch, T)[places[places // n == epoch] % n]
            for epoch in range(int(places[0]) // n, int(places[-1]) // n + 1)
        ]
        return torch.cat(parts)[:, None]

    def _order(self, seed: int, epoch: int, T: int) -> Tensor:
        """Where the windows of an epoch begin, in the order in which they are read: (N,)."""
        key = (seed, epoch, T)
        if key not in self._orders:
            draw, n = generator(seed, "epoch", epoch, T), self._in_epoch(T)
            if n > _MOST:
                raise RequestError(
                    f"training.windows=shuffled keeps the order of an epoch in memory, and {n:,} windows of {T} are "
                    f"more than {_MOST:,}: use training.windows=random, or longer windows"
                )
            shift = torch.randint(min(T, self._text.tokens("train") - n * T), (1,), generator=draw)
            last = list(self._orders.items())[-1:]
            self._orders = dict([*last, (key, shift + T * torch.randperm(n, generator=draw))])
        return self._orders[key]

    def _in_epoch(self, T: int) -> int:
        """How many windows of T tokens fit into the text, each with the token after it, wherever the first begins."""
        return max(1, self._text.tokens("train") // T - 1)


class ShortWindows(WrappedData):
    """A text whose first batches have shorter windows, and more of them, so that each batch has the same number of
    tokens.

    Source: "Shortformer" (Press et al., 2021), section 3.
    """

    def __init__(self, data: Data, length: int, iterations: int) -> None:
        """Windows of `length` tokens in the first `iterations` batches.

        Raises RequestError if `data` is not a text, or if `length` does not divide its windows.
        """
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
