"""Operations that PyTorch has, computed in ways that are quicker where PyTorch's own are slow.

On a CPU, PyTorch's dropout spends half of v7's step on drawing its masks, and its attention falls back to a slow path
as soon as weights are dropped. Here 16 random bits decide about a number, four numbers a draw.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, scaled_dot_product_attention

# Up to this many tokens, a compiled attention is quicker as products and sums that the compiler fuses into a loop
# than as one call a head and window.
_SHORT = 16


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


def attention(q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False, dropout: Dropout | None = None) -> Tensor:
    """softmax(q k^T / sqrt(D)) v with dropout on the softmax: q (B, H, T, D), k and v (B, H, S, D) -> (B, H, T, D).

    `causal` hides every later token, where the queries and the keys are those of the same tokens (S = T).
    """
    T, D = q.shape[2:]
    p = dropout.p if dropout is not None and dropout.training else 0.0
    on_cpu = q.device.type == "cpu"
    is_short = on_cpu and torch.compiler.is_compiling() and causal and T <= _SHORT
    if not is_short and (p == 0 or not on_cpu):
        return scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=causal)
    q = q * D**-0.5
    scores = (q[..., :, None, :] * k[..., None, :, :]).sum(-1) if is_short else q @ k.transpose(-2, -1)  # (B, H, T, S)
    if causal:
        scores = scores + torch.full((T, T), float("-inf"), dtype=q.dtype, device=q.device).triu(diagonal=1)
    weights = scores.softmax(dim=-1)
    if dropout is not None:
        weights = dropout(weights)
    return (weights[..., None] * v[..., None, :, :]).sum(-2) if is_short else weights @ v  # (B, H, T, D)
