"""Squared ReLU: the activation of v8's feed-forward layers.

Source: "Primer: Searching for Efficient Transformers" (So et al., 2021), section 4.
"""

from typing import Any

import torch
from torch import Tensor, nn


class SquaredReLU(nn.Module):
    """relu(x)^2."""

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape -> the same shape."""
        return _SquaredReLU.apply(x) if x.requires_grad else x.relu().square()


class _SquaredReLU(torch.autograd.Function):
    """The same, with its gradient, 2 relu(x), in fewer passes over memory than PyTorch takes to derive it."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        r = x.relu()
        context.save_for_backward(r)
        return r.square()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        (r,) = context.saved_tensors
        return (r + r).mul_(gradient)
