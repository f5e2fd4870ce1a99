"""Where and in which precision a model computes."""

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from gpt.errors import RequestError

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
DtypeName = Literal["auto", "float32", "bfloat16"]

# Below this many parameters a step is dominated by starting operations: a second thread costs more than it saves.
_LARGE = 1_000_000
# Below this many, the casts to bfloat16 and back cost more than its products save: on a GPU, and on a CPU.
_PAYS_FOR_CASTS, _PAYS_FOR_CASTS_ON_CPU = 1_000_000, 4_000_000
_THREADS = torch.get_num_threads()  # PyTorch's own choice: the cores, or OMP_NUM_THREADS


@dataclass(frozen=True)
class Runtime:
    """A device and the precision that matrix products have on it. Weights and losses are always float32."""

    device: torch.device
    dtype: torch.dtype = torch.float32

    def __str__(self) -> str:
        return f"{self.device.type}, {str(self.dtype).removeprefix('torch.')}"

    def autocast(self) -> contextlib.AbstractContextManager:
        """The context for forward passes."""
        if self.dtype is torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    @contextlib.contextmanager
    def all_threads(self) -> Iterator[None]:
        """For work in large pieces, as evaluation is: all of PyTorch's CPU threads, however few a step has."""
        few = torch.get_num_threads()
        torch.set_num_threads(_THREADS)
        try:
            yield
        finally:
            torch.set_num_threads(few)

    def synchronize(self) -> None:
        """Wait until the device has done all it was given, so that a clock reads the truth."""
        if self.device.type != "cpu":
            getattr(torch, self.device.type).synchronize()

    @property
    def accumulator(self) -> torch.device:
        """Where long sums are kept: on the device, so that nothing waits for it, unless it lacks float64."""
        return torch.device("cpu") if self.device.type == "mps" else self.device


def select_device(name: DeviceName) -> torch.device:
    """`auto` is the fastest there is. Raises RequestError for a device this machine lacks."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device in ("cuda", "mps", "cpu") if available[device])
    if not available[name]:
        raise RequestError(f"device={name} is not available here; use device=auto or device=cpu")
    return torch.device(name)


def select_runtime(device: torch.device, dtype: DtypeName, model: nn.Module) -> Runtime:
    """`auto` is bfloat16 where the processor computes with it and the model is large enough to gain, else float32.

    Also sets the number of CPU threads: one for a small model, whose steps gain little from a second one and lose
    much where another process wants that core; else PyTorch's own choice.
    """
    large = is_large(model)
    torch.set_num_threads(_THREADS if large else 1)
    if device.type == "cpu":
        _keep_freed_memory()
    if dtype == "auto":
        enough = _PAYS_FOR_CASTS_ON_CPU if device.type == "cpu" else _PAYS_FOR_CASTS
        dtype = "bfloat16" if size_of(model) >= enough and _has_bfloat16(device) else "float32"
    return Runtime(device, getattr(torch, dtype))


def is_large(model: nn.Module) -> bool:
    """Whether computing, and not starting to compute, is what the model's time goes into."""
    return size_of(model) >= _LARGE


def size_of(model: nn.Module) -> int:
    """The number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return torch.backends.mkldnn.is_available() and torch.cpu._is_avx512_bf16_supported()
    return False


def _keep_freed_memory() -> None:
    """Have the C library reuse the memory of large tensors instead of giving it back and asking again.

    By default every large tensor is mapped anew and its pages are cleared at first touch, which takes a third
    of v7's step. Peak memory does not change. Does nothing where the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, mmap_max, never = -1, -4, -1
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, never)
