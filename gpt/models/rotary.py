"""Rotary positions: queries and keys are rotated by an angle proportional to their position.

The product of two rotated vectors depends only on the distance between their positions.

Source: "RoFormer: Enhanced Transformer with Rotary Position Embedding" (Su et al., 2021), section 3.2.
"""

import torch
from torch import Tensor

from gpt.models.kv_cache import positions


class Rotation:
    """Rotate pairs of channels by an angle proportional to the position, each pair more slowly than the one before."""

    def __init__(self, T: int, head_size: int, device: torch.device) -> None:
        here = positions(T)
        speeds = 10_000 ** -torch.linspace(0, 1, head_size // 2, device=device)  # (D / 2), radians per token
        angles = torch.arange(here.start, here.stop, device=device)[:, None] * speeds  # (T, D / 2)
        self._cos, self._sin = angles.cos(), angles.sin()

    def __call__(self, x: Tensor) -> Tensor:
        """x: (..., T, D) -> (..., T, D)."""
        a, b = x.chunk(2, dim=-1)
        cos, sin = self._cos.to(x.dtype), self._sin.to(x.dtype)
        return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
