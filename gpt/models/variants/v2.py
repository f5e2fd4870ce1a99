"""v2 without the division of its scores by sqrt(D), for comparison: `model=v2_without_scaling`."""

import torch
from torch import Tensor

from gpt.models import v2_attention_head


class WithoutScaling(v2_attention_head.GPT):
    """embedding -> attention, softmax(q k^T) v -> logits."""

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) int64 token ids, T <= block_size -> logits: (B, T, V)."""
        x, head, T = self.embedding(idx), self.attention, idx.shape[1]
        q, k, v = head.query(x), head.key(x), head.value(x)  # (B, T, D) each
        scores = q @ k.transpose(-2, -1)  # (B, T, T)
        future = torch.ones(T, T, dtype=torch.bool, device=x.device).triu(diagonal=1)  # the key comes after the query
        weights = scores.masked_fill(future, float("-inf")).softmax(dim=-1)  # (B, T, T)
        return self.lm_head(weights @ v)  # (B, T, D) -> (B, T, V)
