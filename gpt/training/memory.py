"""Whether a training step fits into memory, and how it takes less.

A machine that runs out of memory hangs before it fails, so a step that cannot fit is refused before it is tried.
"""

import os
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gpt.base.errors import RequestError

_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container


def check_weights(model: nn.Module, device: torch.device, copies: int = 1) -> None:
    """Raise RequestError if a model on the meta device would not fit into the memory of the device.

    `copies`: of the weights, counting one for the gradients; a lower bound.
    """
    weights = sum(parameter.nbytes for parameter in model.parameters())
    available = memory_of(device)
    if copies * weights > available:
        raise RequestError(
            f"the weights of this model take {weights / 2**30:,.1f} GiB, and with what is kept for each of them "
            f"more than the {available / 2**30:,.1f} GiB of memory: make the model or its vocabulary smaller"
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
