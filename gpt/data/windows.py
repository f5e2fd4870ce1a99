"""Token ids as windows that make each of them a target once: adjacent ones, or ones that overlap by half."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from gpt.data.batch import IGNORED, Batch, Targets
from gpt.data.tokenizer import Ids


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
        for first in range(0, full, in_pass := self._rows * T):
            part = self.ids[first : min(first + in_pass, full) + 1]
            starts = torch.arange(first, first + len(part) - 1, T, device=part.device)
            yield self.located(Batch.full(part[:-1].view(-1, T), part[1:].view(-1, T)), starts)
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
            targets = windows[:, 1:].clone()
            targets[:, :seen] = IGNORED
            count = len(some) * (self.block_size - seen)
            yield self.located(Batch((windows[:, :-1],), targets, count), some)


def _spread(count: int, places: int) -> Tensor:
    """`count` of the numbers from 0 to `places` - 1, evenly spread: (count,)."""
    return torch.arange(min(count, places)) * places // min(count, places)
