"""Attention and dropout shared by the stages, with fast paths for the CPU.

On a CPU, PyTorch's dropout spends half of v7's step drawing masks, and its attention takes a slow path when weights are
dropped, for the gradient in bfloat16, and for a single token in bfloat16. `Dropout` draws only 16 random bits per
element.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout as pytorch_dropout
from torch.nn.functional import scaled_dot_product_attention

from gpt.models.kv_cache import KVCache, active_cache

# Up to this many tokens, compiled attention is faster as sums of products than as one matrix product per head and
# window: the compiler fuses the sums into one loop.
_SHORT = 16
# Up to this many tokens, attention with a gradient in bfloat16 is faster as matrix products than in PyTorch's kernel.
_SHORT_IN_BFLOAT16 = 512


class Dropout(nn.Module):
    """In training, zero each element with probability p and divide the others by 1 - p.

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
            return pytorch_dropout(x, self.p)
        draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        bits = draws.view(torch.int16)[: x.numel()].view(x.shape)  # uniform in -2^15 .. 2^15 - 1
        dropped = min(round(self.p * 2**16), 2**16 - 1)  # how many of the 2^16 values of `bits` are dropped
        keep = bits.ge_(dropped - 2**15)  # 1 or 0
        scale = torch.tensor(1 / (1 - dropped / 2**16), dtype=x.dtype)
        if x.element_size() == 2:  # the scale's own bits times 1 or 0: the mask, without another pass over memory
            return x * keep.mul_(scale.view(torch.int16)).view(x.dtype)
        return x * keep.to(x.dtype).mul_(scale)


def causal_attention(q: Tensor, k: Tensor, v: Tensor, dropout: Dropout | None = None) -> Tensor:
    """softmax(q k^T / sqrt(D)) v, in which no token sees a later one: (B, H, T, D) each -> (B, H, T, D).

    `dropout` applies to the softmax. While a key-value cache is active (`KVCache.active`), k and v are appended to
    it, and the T tokens attend to all tokens that it then holds.
    """
    cache = active_cache()
    if cache is not None:
        return _cached_attention(cache, q, k, v)
    T, D = q.shape[2:]
    p = dropout.p if dropout is not None and dropout.training else 0.0
    on_cpu = q.device.type == "cpu"
    is_compiled = torch.compiler.is_compiling() and not is_exporting()  # an export must accept any T
    is_short = on_cpu and is_compiled and T <= _SHORT
    if not (is_short or (on_cpu and (p > 0 or _has_slow_gradient(q)))):
        return scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)
    q = q * D**-0.5
    scores = (q[..., :, None, :] * k[..., None, :, :]).sum(-1) if is_short else q @ k.transpose(-2, -1)  # (B, H, T, T)
    scores = scores + torch.full((T, T), float("-inf"), dtype=q.dtype, device=q.device).triu(diagonal=1)
    weights = scores.softmax(dim=-1)
    if dropout is not None:
        weights = dropout(weights)
    return (weights[..., None] * v[..., None, :, :]).sum(-2) if is_short else weights @ v  # (B, H, T, D)


def _cached_attention(cache: KVCache, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    dtype = q.dtype
    if dtype is torch.bfloat16 and q.device.type == "cpu":  # PyTorch's kernel takes several times as long here
        q, k, v = q.float(), k.float(), v.float()
    k, v = cache.append_next(k, v)  # (B, H, S, D) each
    # A single token attends to all that the cache holds.
    return scaled_dot_product_attention(q, k, v, cache.mask, is_causal=cache.is_empty()).to(dtype)


def _has_slow_gradient(q: Tensor) -> bool:
    # Training and evaluation take the same path, whether or not activations are recomputed.
    return q.dtype is torch.bfloat16 and torch.is_autocast_enabled("cpu") and q.shape[2] <= _SHORT_IN_BFLOAT16


def is_exporting() -> bool:
    """Whether torch.export is tracing the model, as a graph for windows of any length.

    PyTorch's own function is true in torch.compile as well, up to version 2.11.
    """
    return torch.compiler.is_exporting() and not torch.compiler.is_dynamo_compiling()
