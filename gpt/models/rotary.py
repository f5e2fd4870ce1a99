"""Rotary positions: queries and keys are rotated by an angle proportional to their position.

The product of two rotated vectors depends only on the distance between their positions.

Source: "RoFormer: Enhanced Transformer with Rotary Position Embedding" (Su et al., 2021), section 3.2.
"""

from typing import Any

import torch
from torch import Tensor, nn

from gpt.models.kv_cache import positions


class Rotation:
    """Rotate pairs of channels by an angle proportional to the position, each pair more slowly than the one before."""

    def __init__(self, T: int, head_size: int, device: torch.device) -> None:
        speeds = 10_000 ** -torch.linspace(0, 1, head_size // 2, device=device)  # (D / 2), radians per token
        angles = positions(T, device)[:, None] * speeds  # (T, D / 2)
        cos, sin = angles.cos(), angles.sin()
        self._cos, self._sin = torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)  # (T, D) each

    def __call__(self, x: Tensor) -> Tensor:
        """x: (..., T, D) -> (..., T, D)."""
        cos, sin = self._cos.to(x.dtype), self._sin.to(x.dtype)
        return _Rotated.apply(x, cos, sin) if x.requires_grad else _rotated(x, cos, sin)


class RotaryPositions(nn.Module):
    """Rotated queries and keys; being a module, it can be turned off."""

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """q, k: (B, H, T, D) each -> the same shapes."""
        T, D = q.shape[2:]
        rotation = Rotation(T, D, q.device)
        return rotation(q), rotation(k)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    x = x.contiguous()  # for the products of attention
    swapped = x.roll(x.shape[-1] // 2, dims=-1)  # [a, b] -> [b, a]
    # Not added in place: torch.compile of PyTorch 2.11 then loses the gradient (its issue 180642).
    return x * cos + swapped.mul_(sin)  # [a cos - b sin, b cos + a sin]


class _Rotated(torch.autograd.Function):
    """A rotation that rotates its gradient back, in fewer passes over memory than PyTorch's derivative."""

    generate_vmap_rule = True  # for torch.func

    @staticmethod
    def forward(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        return _rotated(x, cos, sin)

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ARG004
        _, cos, sin = inputs
        context.save_for_backward(cos, sin)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = context.saved_tensors
        return _rotated(gradient, cos, -sin), None, None
