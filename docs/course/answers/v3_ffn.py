"""Answers to the exercises of docs/course/v3_ffn.md."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def commutes_with_order(layer: nn.Module) -> bool:
    """Whether permuting the positions before the layer is the same as permuting them after it."""
    x, order = torch.randn(1, 8, 32), torch.randperm(8)
    return torch.allclose(layer(x[:, order]), layer(x)[:, order], atol=1e-6)


@torch.no_grad()
def merged(first: nn.Linear, second: nn.Linear) -> nn.Linear:
    """One linear layer equivalent to `first` followed by `second`."""
    layer = nn.Linear(first.in_features, second.out_features)
    layer.weight.copy_(second.weight @ first.weight)
    layer.bias.copy_(second.weight @ first.bias + second.bias)
    return layer


@torch.no_grad()
def dead_units(model: nn.Module, idx: Tensor) -> int:
    """How many units of v3_ffn's feed-forward layer are zero at every position of the windows idx, (B, T)."""
    x = model.attention(model.embedding(idx))  # type: ignore[operator]
    active = model.feed_forward(x).flatten(0, 1) > 0  # type: ignore[operator]
    return int((~active.any(dim=0)).sum())
