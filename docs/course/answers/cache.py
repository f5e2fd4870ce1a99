"""Generating with and without a key-value cache: code of docs/course/cache.md."""

import torch
from torch import Tensor, nn

from gpt.models.kv_cache import KVCache


@torch.no_grad()
def read_again(model: nn.Module, idx: Tensor) -> tuple[Tensor, int]:
    """The logits after each token, (B, T, V), each from a pass over all tokens so far; and how many were read."""
    T = idx.shape[1]
    logits = [model(idx[:, : t + 1])[:, -1] for t in range(T)]
    return torch.stack(logits, dim=1), sum(t + 1 for t in range(T))


@torch.no_grad()
def read_once(model: nn.Module, idx: Tensor) -> tuple[Tensor, int]:
    """The logits after each token, (B, T, V), each from a pass over one token; and how many tokens were read."""
    T, cache = idx.shape[1], KVCache(idx.shape[1])
    logits = []
    for t in range(T):
        with cache.active():
            logits.append(model(idx[:, t : t + 1])[:, -1])
    return torch.stack(logits, dim=1), T
