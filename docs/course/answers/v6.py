"""Answers to the exercises of docs/course/v6.md."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gpt.models import v6_pre_norm


def layer_norm(x: Tensor) -> Tensor:
    """Normalise each vector to mean 0 and variance 1: (..., C) -> (..., C)."""
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()


def loss_at_start(stage: Callable[..., nn.Module], n_layer: int) -> float:
    """The mean loss of ten untrained models of a stage over the same random windows."""
    torch.manual_seed(1)
    idx, targets = torch.randint(65, (2, 500, 8))
    models = [stage(65, 8, 32, 4, n_layer) for _ in range(10)]
    with torch.no_grad():
        return sum(cross_entropy(model(idx).flatten(0, 1), targets.flatten()).item() for model in models) / 10


class PostNormBlock(v6_pre_norm.Block):
    """Attention, then feed-forward, each with a LayerNorm after the residual sum, as in the original Transformer."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        x = self.attention_norm(x + self.attention(x))  # (B, T, C)
        return self.feed_forward_norm(x + self.feed_forward(x))  # (B, T, C)
