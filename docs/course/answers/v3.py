"""Answers to the exercises of docs/course/v3.md."""

import torch
from torch import Tensor, nn

from gpt.inspection.attention_weights import AttentionWeights
from gpt.models.v2_attention_head import Head
from gpt.models.v3_attention_heads import MultiHeadAttention


@torch.no_grad()
def heads_of(attention: MultiHeadAttention) -> list[Head]:
    """The heads of v3's attention as heads of v2."""
    C, D = attention.qkv.in_features, attention.qkv.in_features // attention.n_head
    q, k, v = attention.qkv.weight.view(3, attention.n_head, D, C)  # (H, D, C) each
    heads = []
    for i in range(attention.n_head):
        head = Head(C, D)
        for layer, weight in ((head.query, q), (head.key, k), (head.value, v)):
            layer.weight.copy_(weight[i])
        heads.append(head)
    return heads


@torch.no_grad()
def mean_distances(model: nn.Module, idx: Tensor) -> list[float]:
    """The mean distance, in characters, that each head of the first layer attends back from the end of idx, (B, T)."""
    with AttentionWeights() as observed:
        model(idx)
    weights = observed.weights[0][:, :, -1]  # (B, H, T)
    distances = torch.arange(idx.shape[1] - 1, -1, -1)  # 7, 6, ... 0
    return (weights * distances).sum(dim=-1).mean(dim=0).tolist()
