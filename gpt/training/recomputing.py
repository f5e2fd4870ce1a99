"""Activations that are computed again in the backward pass instead of being kept: less memory for more time.

Source: "Training Deep Nets with Sublinear Memory Cost" (Chen et al., 2016), section 3.
"""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gpt.base.errors import RequestError


class _Recomputed(nn.Sequential):
    """Blocks of which, in training, only the input of each is kept."""

    def forward(self, x: Tensor) -> Tensor:
        """As of `nn.Sequential`."""
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
