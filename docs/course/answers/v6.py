"""Answers to the exercises of docs/course/v6.md."""

from torch import Tensor

from gpt.models import v6_pre_norm


def layer_norm(x: Tensor) -> Tensor:
    """Normalise each vector to mean 0 and variance 1: (..., C) -> (..., C)."""
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()


class PostNormBlock(v6_pre_norm.Block):
    """Attention, then feed-forward, each with a LayerNorm after the residual sum, as in the original Transformer."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        x = self.attention_norm(x + self.attention(x))  # (B, T, C)
        return self.feed_forward_norm(x + self.feed_forward(x))  # (B, T, C)
