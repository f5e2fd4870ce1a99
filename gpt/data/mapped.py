"""Token ids in a file, mapped into memory."""

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


class MappedIds:
    """Token ids in a file. Only what is asked for is read."""

    def __init__(self, path: Path, dtype: np.dtype) -> None:
        self.device = torch.device("cpu")
        self._file = path.open("rb", buffering=0)
        size = os.fstat(self._file.fileno()).st_size
        self._mapped: Any = b""  # an empty file cannot be mapped
        if size:
            self._mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        self._ids = np.frombuffer(self._mapped, dtype)
        self._advises = hasattr(self._mapped, "madvise")  # not on every system
        if self._advises:
            self._mapped.madvise(mmap.MADV_RANDOM)  # nothing around what is asked for

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        """The ids of a slice, or at some places: int64."""
        chosen = self._ids.take(index.numpy()) if isinstance(index, Tensor) else self._ids[index]
        return torch.from_numpy(chosen.astype(np.int64))

    def windows(self, starts: Tensor, length: int) -> Tensor:
        """`length` ids from each of `starts`, (B, 1): (B, length) int64.

        They are read instead of mapped, because a window at a random place costs a page fault, ten times as much.
        """
        if not hasattr(os, "pread"):  # on Windows
            return self[starts + torch.arange(length)]
        size, file = self._ids.itemsize, self._file.fileno()
        rows = [os.pread(file, length * size, start * size) for start in starts[:, 0].tolist()]
        ids = np.frombuffer(b"".join(rows), self._ids.dtype).reshape(len(rows), length)
        return torch.from_numpy(ids.astype(np.int64))

    def expect(self, starts: Tensor, length: int) -> None:
        """Begin to read `length` ids from each of `starts`, (B, 1), which will be asked for soon."""
        if self._advises:
            size = self._ids.itemsize
            for start in starts[:, 0].tolist():
                first = start * size // mmap.PAGESIZE * mmap.PAGESIZE
                self._mapped.madvise(mmap.MADV_WILLNEED, first, (start + length) * size - first)
