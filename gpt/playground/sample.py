"""Computing for many readers at once: a few threads take turns, until the reader disconnects."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Result = TypeVar("Result")

_TURN = 0.05  # seconds of computing before the next reader has a turn


class WorkerPool:
    """Worker threads, one per core, in which PyTorch uses a single thread each."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(os.cpu_count(), "play", torch.set_num_threads, (1,))

    async def compute(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Run a function in a worker thread, so that other readers do not wait."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def write(self, pieces: Iterator[str]) -> AsyncIterator[str]:
        """Yield a text piece by piece; a disconnect cancels this generator."""
        while (text := await self.compute(_one_turn, pieces)) is not None:
            if text:
                yield text

    def close(self) -> None:
        """Drop work that has not started."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _one_turn(pieces: Iterator[str]) -> str | None:
    """The pieces that arrive within one turn, at least one, even if it is empty; None at the end."""
    ends, text = time.monotonic() + _TURN, None
    for piece in pieces:
        text = (text or "") + piece
        if time.monotonic() >= ends:
            break
    return text
