"""Windows that lie side by side, in random order."""

import torch
from torch import Tensor

from gpt.base.errors import RequestError
from gpt.base.seeding import generator
from gpt.data.batch import Batch, Data, WrappedData
from gpt.data.text import TextData

_MOST = 10**8  # windows in an epoch, whose order takes 8 bytes each


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
