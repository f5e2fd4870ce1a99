"""Whether a training step fits into memory, and how it takes less.

A machine that runs out of memory hangs before it fails, so a step that cannot fit is refused before it is tried.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.utils.checkpoint import checkpoint

from gpt.base.errors import RequestError

_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container


def check_weights(model: nn.Module) -> None:
    """Raise RequestError if a model on the meta device would not fit into the memory of the CPU."""
    _check(sum(parameter.nbytes for parameter in model.parameters()), memory_of(torch.device("cpu")))


@contextlib.contextmanager
def within_memory(device: torch.device, copies: int) -> Iterator[None]:
    """Build a model inside: raises RequestError as soon as its parameters would not fit, before they are initialised.

    `copies`: of the weights that the device keeps, counting one for the gradients; a lower bound.
    """
    available = min(memory_of(torch.device("cpu")), memory_of(device) // copies)
    sizes: dict[int, int] = {}  # a tied parameter counts once

    def check(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            sizes[id(parameter)] = parameter.nbytes
            _check(sum(sizes.values()), available)

    hook = register_module_parameter_registration_hook(check)
    try:
        yield
    finally:
        hook.remove()


def _check(weights: int, available: int) -> None:
    if weights > available:
        raise RequestError(
            f"the weights of this model take {weights / 2**30:,.1f} GiB or more, and there is memory for "
            f"{available / 2**30:,.1f} GiB of them: make the model or its vocabulary smaller"
        )


def memory_of(device: torch.device) -> int:
    """The memory of a device in bytes."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    if not hasattr(os, "sysconf"):  # on Windows, which refuses too much memory with an error
        return 2**63
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _LIMIT.read_text().strip() if _LIMIT.is_file() else "max"
    return memory if limit == "max" else min(memory, int(limit))


class _Recomputed(nn.Sequential):
    """Blocks that keep only their inputs in training: the backward pass computes their activations again.

    Source: "Training Deep Nets with Sublinear Memory Cost" (Chen et al., 2016), section 3.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The output of the last block, as in `nn.Sequential`."""
        if not (self.training and torch.is_grad_enabled()):
            return super().forward(x)
        for block in self:
            x = checkpoint(block, x, use_reentrant=False)
        return x


def recompute_blocks(model: nn.Module) -> None:
    """Keep only the input of each block of a stage. Raises RequestError if it has no stack of blocks."""
    blocks = getattr(model, "blocks", None)
    if not isinstance(blocks, nn.Sequential):
        raise RequestError("training.recompute=true is for stages with a stack of blocks, such as v4 to v9")
    model.blocks = _Recomputed(*blocks)
