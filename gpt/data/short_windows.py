"""Short windows in the first batches of a run."""

from gpt.base.errors import RequestError
from gpt.data.batch import Batch, Data, WrappedData
from gpt.data.shuffled_windows import ShuffledWindows
from gpt.data.text import TextData


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
