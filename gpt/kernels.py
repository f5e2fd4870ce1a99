"""Dropout, and attention with dropout on its weights, at a price that a CPU can pay.

PyTorch's own dropout spends on a CPU half of v7's step on drawing its masks, and its attention falls back to a
slow path as soon as weights are dropped. Here 16 random bits decide about a number, four numbers a draw.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, scaled_dot_product_attention


class Dropout(nn.Module):
    """While training, each number is set to 0 with probability p and else divided by 1 - p.

    On a CPU p is rounded to a multiple of 2^-16.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape -> the same shape."""
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu":
            return dropout(x, self.p)
        draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        bits = draws.view(torch.int16)[: x.numel()].view(x.shape)  # uniform in -2^15 .. 2^15 - 1
        dropped = round(self.p * 2**16)  # of the 2^16 values that bits can have
        keep = bits >= dropped - 2**15
        return x * keep.to(x.dtype).mul_(1 / (1 - dropped / 2**16))


def causal_attention(q: Tensor, k: Tensor, v: Tensor, dropout: Dropout) -> Tensor:
    """softmax(q k^T / sqrt(D)) v with dropout on the softmax: q (B, H, T, D), k and v (B, H, S, D) -> (B, H, T, D).

    Either the queries are those of all S = T tokens, and none sees a later one, or that of the newest alone (T = 1).
    """
    T = q.shape[2]
    p = dropout.p if dropout.training else 0.0
    if p == 0 or q.device.type != "cpu":
        return scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=T > 1)
    future = torch.full((T, T), float("-inf"), dtype=q.dtype).triu(diagonal=1)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + future  # (B, H, T, T)
    return dropout(scores.softmax(dim=-1)) @ v  # (B, H, T, D)
