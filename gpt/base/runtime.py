"""Device, precision, and the settings of PyTorch and the C library that belong to the whole process."""

import contextlib
import ctypes
import functools
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from gpt.base.errors import UnavailableError

# Numbers of parameters:
_LARGE = 1_000_000  # a smaller model spends most of a step launching operations
_GAINS_FROM_THREADS = 200_000  # a smaller model gains little from a second thread, which is costly on a busy machine
_PAYS_FOR_CASTS, _ON_CPU = 1_000_000, 4_000_000  # in a smaller model, casts to bfloat16 cost more than they save
_THREADS = torch.get_num_threads()  # PyTorch's own choice: the cores, or OMP_NUM_THREADS


@dataclass(frozen=True)
class Runtime:
    """A device and the precision of matrix products on it. Weights and losses are always float32."""

    device: torch.device
    dtype: torch.dtype = torch.float32
    threads: int = _THREADS  # of a CPU

    def __str__(self) -> str:
        return f"{self.device.type}, {str(self.dtype).removeprefix('torch.')}"

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """The context for a forward pass: it uses the weights as they are now, and keeps no copies of them.

        PyTorch keeps its copies in another precision until the outermost autocast ends, which may be `settings`.
        """
        if self.dtype is torch.float32:
            yield
            return
        torch.clear_autocast_cache()
        try:
            with torch.autocast(self.device.type, dtype=self.dtype):
                yield
        finally:
            torch.clear_autocast_cache()

    @contextlib.contextmanager
    def settings(self) -> Iterator[None]:
        """PyTorch's settings for this model and device, which belong to the process: restored at the end.

        An autocast of the calling program does not count: it would also keep copies of weights from before an update.
        """
        is_fused, precision = torch.backends.cuda.cudnn_sdp_enabled(), torch.get_float32_matmul_precision()
        with _cpu_threads(self.threads), torch.autocast(self.device.type, enabled=False):
            if precision != "highest":
                torch.set_float32_matmul_precision("highest")
            if self.device.type == "cuda":  # cuDNN attention builds a plan for each new length: 40 ms per new token
                torch.backends.cuda.enable_cudnn_sdp(False)
            try:
                yield
            finally:
                torch.backends.cuda.enable_cudnn_sdp(is_fused)
                if precision != "highest":
                    torch.set_float32_matmul_precision(precision)

    def all_threads(self) -> contextlib.AbstractContextManager:
        """Use all of PyTorch's CPU threads: for large passes such as evaluation, even if training steps use one."""
        return _cpu_threads(_THREADS)

    def synchronize(self) -> None:
        """Wait until the device has finished its queue, so that a clock measures the work."""
        if self.device.type != "cpu":
            getattr(torch, self.device.type).synchronize()


def select_device(name: str) -> torch.device:
    """The device of this name; `auto`: the fastest one. Raises UnavailableError for one that this machine lacks."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device in ("cuda", "mps", "cpu") if available[device])
    if not available[name]:
        raise UnavailableError(f"device={name} is not available here; use device=auto or device=cpu")
    return torch.device(name)


def select_runtime(device: torch.device, dtype: str, model: nn.Module) -> Runtime:
    """The runtime; `auto` is bfloat16 if its products are faster and the model is large enough to gain.

    A small model gains little from a second CPU thread, and loses a lot when another process needs that core. It uses
    one thread; a larger model uses as many as PyTorch chose.
    """
    threads = _THREADS if size_of(model) >= _GAINS_FROM_THREADS else 1
    if dtype == "auto":
        enough = _ON_CPU if device.type == "cpu" else _PAYS_FOR_CASTS
        dtype = "bfloat16" if size_of(model) >= enough and has_fast_bfloat16(device) else "float32"
    return Runtime(device, getattr(torch, dtype), threads)


@contextlib.contextmanager
def deterministic_algorithms(*, wanted: bool) -> Iterator[None]:
    """If `wanted`, make a GPU give the same bits for the same seed, which is slower; restored at the end.

    A CPU always gives the same bits.
    """
    enabled, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # required by cuBLAS for determinism
    changes = wanted != enabled or (wanted and warns)  # asking is free, setting imports a compiler
    if changes:
        torch.use_deterministic_algorithms(wanted)
    try:
        yield
    finally:
        if changes:
            torch.use_deterministic_algorithms(enabled, warn_only=warns)


@contextlib.contextmanager
def random_numbers_kept() -> Iterator[None]:
    """Restore the global random generators, of the CPU and of every GPU, at the end."""
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        try:
            yield
        finally:
            if mps is not None:
                torch.mps.set_rng_state(mps)


def is_large(model: nn.Module) -> bool:
    """Whether the model spends its time on arithmetic rather than on launching operations."""
    return size_of(model) >= _LARGE


def size_of(model: nn.Module) -> int:
    """The number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


@functools.cache
def has_bfloat16(device: torch.device) -> bool:
    """Whether the processor has instructions for bfloat16; elsewhere it is many times slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return torch.backends.mkldnn.is_available() and torch.cpu._is_avx512_bf16_supported()
    return False


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether matrix products are faster in bfloat16 than in float32.

    Intel's processors need AMX for that. On one of the fifth generation without it, as in some virtual machines, the
    other instructions for bfloat16 reach half the rate of float32.
    """
    needs_amx = device.type == "cpu" and is_intel()
    return has_bfloat16(device) and (not needs_amx or torch.cpu._is_amx_tile_supported())


@functools.cache
def is_intel() -> bool:
    """Whether the processor is one of Intel's."""
    described = Path("/proc/cpuinfo")
    return "GenuineIntel" in (described.read_text() if described.exists() else platform.processor())


def keep_freed_memory(device: torch.device) -> None:
    """Make the C library reuse the memory of large tensors on a CPU instead of returning it to the system.

    By default, every large tensor is mapped anew and its pages are cleared at first touch, which takes a seventh of
    v7's step. Peak memory does not change. This cannot be undone, so only commands call it. Does nothing if the C
    library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None and device.type == "cpu":
        trim_threshold, mmap_max, never = -1, -4, -1
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, never)


@contextlib.contextmanager
def _cpu_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
