"""Computing for many readers at once: in a few threads, a moment at a time, for as long as somebody reads."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from gpt.base.errors import UserError

Result = TypeVar("Result")

_TURN = 0.05  # seconds of computing before the next reader has a turn
_LONGEST = 300.0  # seconds of a text: many are written at once
_MOST = 100  # texts at once


class BusyError(UserError):
    """Too many readers."""


class Workshop:
    """The threads that compute: one for each core, each with one thread of PyTorch's."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(os.cpu_count(), "play")
        self.writing = 0  # texts at this moment

    async def compute(self, function: Callable[..., Result], *arguments: object) -> Result:
        """The result of a function, without holding up anybody else."""

        def alone() -> Result:
            torch.set_num_threads(1)  # each time, because opening a large run raises it
            return function(*arguments)

        return await asyncio.get_running_loop().run_in_executor(self._threads, alone)

    async def write(self, pieces: Iterator[str]) -> AsyncIterator[str]:
        """A text piece by piece, until it ends, takes too long, or its reader leaves, which cancels this generator."""
        ends = time.monotonic() + _LONGEST
        self.writing += 1
        try:
            while time.monotonic() < ends and (text := await self.compute(_one_turn, pieces)):
                yield text
        finally:
            self.writing -= 1

    def check_free(self) -> None:
        """Raises BusyError if as many texts are being written as can be."""
        if self.writing >= _MOST:
            raise BusyError("too many texts are being written at once: try again in a moment")

    def close(self) -> None:
        """Drop what has not begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _one_turn(pieces: Iterator[str]) -> str:
    """What comes within a moment, at least one piece; nothing at the end."""
    ends, text = time.monotonic() + _TURN, ""
    for piece in pieces:
        text += piece
        if time.monotonic() >= ends:
            break
    return text
