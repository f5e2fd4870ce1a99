"""A text, served as windows of T = block_size characters."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import pad

from gpt.base.errors import RequestError
from gpt.base.seeding import generator
from gpt.data.batch import IGNORED, Batch, Targets
from gpt.data.corpus import Text
from gpt.data.tokenizer import Ids, TextTokenizer


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
        self.sizes = tokenizer.sizes
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

    def batch(self, split: str, batch_size: int, draw: torch.Generator, T: int | None = None) -> Batch:
        """`batch_size` windows of T characters, by default block_size, at uniformly random positions of the split."""
        ids, T = self._splits[split], T or self.block_size
        starts = torch.randint(len(ids) - T, (batch_size, 1), generator=draw).to(ids.device, non_blocking=True)
        windows = ids[starts + self._window[: T + 1]]  # (B, T + 1)
        return self._located(split, _batch(windows[:, :-1], windows[:, 1:]), starts[:, 0])

    def training_batch(self, seed: int, iteration: int, batch_size: int) -> Batch:
        """Batch `iteration` of a run: a pure function of the seed and the iteration."""
        return self.batch("train", batch_size, generator(seed, "train", iteration))

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
        return adjacent_windows(
            self._splits[split], self.block_size, tokens_per_pass, most, partial(self._located, split)
        )

    def every_target_in_context(self, split: str, tokens_per_pass: int, most: int | None = None) -> Targets:
        """The split as overlapping windows: targets are the second half of each window, and all of the first window."""
        return sliding_windows(
            self._splits[split], self.block_size, tokens_per_pass, most, partial(self._located, split)
        )

    def _located(self, split: str, batch: Batch, starts: Tensor) -> Batch:
        """The batch on the model's device.

        It has the starts of its windows if it is from the training split and the model remembers that.
        """
        (inputs,), targets = batch.inputs, batch.targets
        with_starts = (starts.to(self._device),) if self._with_starts and split == "train" else ()
        return replace(batch, inputs=(inputs.to(self._device), *with_starts), targets=targets.to(self._device))


def _unchanged(batch: Batch, starts: Tensor) -> Batch:
    del starts
    return batch


def adjacent_windows(
    ids: Ids,
    block_size: int,
    tokens_per_pass: int,
    most: int | None = None,
    located: Callable[[Batch, Tensor], Batch] = _unchanged,
) -> Targets:
    """Token ids, (N,) with N >= 2, as adjacent windows: each id except the first is a target exactly once.

    A window of `block_size` = T inputs predicts the token after each of them, so its first targets have little context.
    The last batch may be smaller, and a shorter window may follow it. Of more than `most` targets, about that many are
    taken, in evenly spread windows. Each batch is passed to `located`, with the starts of its windows.
    """
    T, last = block_size, len(ids) - 1
    if most is not None and last > most:
        starts = T * _spread(max(1, most // T), last // T)
        return Targets(_batches_at(ids, starts, T, 0, tokens_per_pass, located), T * len(starts), last)

    def batches() -> Iterator[Batch]:
        full = last // T * T  # targets that fill complete windows
        in_pass = max(1, tokens_per_pass // T) * T
        for first in range(0, full, in_pass):
            part = ids[first : min(first + in_pass, full) + 1]
            starts = torch.arange(first, first + len(part) - 1, T, device=part.device)
            yield located(_batch(part[:-1].view(-1, T), part[1:].view(-1, T)), starts)
        if full < last:
            part = ids[full:]
            yield located(_batch(part[None, :-1], part[None, 1:]), torch.tensor([full], device=part.device))

    return Targets(batches(), last, last)


def sliding_windows(
    ids: Ids,
    block_size: int,
    tokens_per_pass: int,
    most: int | None = None,
    located: Callable[[Batch, Tensor], Batch] = _unchanged,
) -> Targets:
    """Token ids, (N,) with N >= 2, as windows that overlap by half: each id except the first is a target exactly once.

    Only the second half of a window is predicted, so that each target has T / 2 tokens of context or more, T =
    block_size; in the first window, both halves are. For odd T, the second half is the longer one. `most` and `located`
    are those of `adjacent_windows`.
    """
    T, last = block_size, len(ids) - 1
    step = T - T // 2
    if most is not None and last > most:
        starts = step * _spread(max(1, most // step), (last - T) // step + 1)
        return Targets(_batches_at(ids, starts, T, T // 2, tokens_per_pass, located), step * len(starts), last)

    def batches() -> Iterator[Batch]:
        starts = range(0, max(1, last - T // 2), step)
        for first in range(0, len(starts), rows := max(1, tokens_per_pass // T)):
            inputs, targets = [], []
            for start in starts[first : first + rows]:
                end = min(start + T, last)
                window = ids[start : end + 1]
                seen = T // 2 if start else 0
                inputs.append(pad(window[:-1], (0, start + T - end)))
                targets.append(pad(window[1 + seen :], (seen, start + T - end), value=IGNORED))
            joined = torch.stack(targets)
            batch = Batch((torch.stack(inputs),), joined, int((joined != IGNORED).sum()))
            yield located(batch, torch.tensor(starts[first : first + rows], device=joined.device))

    return Targets(batches(), last, last)


def _batches_at(
    ids: Ids, starts: Tensor, T: int, seen: int, tokens_per_pass: int, located: Callable[[Batch, Tensor], Batch]
) -> Iterator[Batch]:
    """The windows that begin at `starts`, (N,), in batches; the first `seen` tokens of a window are no targets."""
    for some in starts.to(ids.device).split(max(1, tokens_per_pass // T)):
        windows = ids[some[:, None] + torch.arange(T + 1, device=ids.device)]  # (B, T + 1)
        targets = windows[:, 1:].clone()
        targets[:, :seen] = IGNORED
        yield located(Batch((windows[:, :-1],), targets, len(some) * (T - seen)), some)


def _spread(count: int, places: int) -> Tensor:
    """`count` of the numbers from 0 to `places` - 1, evenly spread: (count,)."""
    return torch.arange(min(count, places)) * places // min(count, places)


def _batch(inputs: Tensor, targets: Tensor) -> Batch:
    return Batch((inputs,), targets, targets.numel())
