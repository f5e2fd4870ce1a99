"""v2 without the division of its scores by sqrt(D), for comparison: `model=v2_without_scaling`."""

import torch
from torch import Tensor, nn

from gpt.base.choices import Length, Size
from gpt.models import v2_attention_head
from gpt.models.v2_attention_head import Embedding


class Head(v2_attention_head.Head):
    """softmax(q k^T) v, in which no token sees a later one."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, D)."""
        T = x.shape[1]
        q, k, v = self.query(x), self.key(x), self.value(x)  # (B, T, D) each
        scores = q @ k.transpose(-2, -1)  # (B, T, T)
        future = torch.ones(T, T, dtype=torch.bool, device=x.device).triu(diagonal=1)  # the key comes after the query
        return scores.masked_fill(future, float("-inf")).softmax(dim=-1) @ v  # (B, T, T) @ (B, T, D) -> (B, T, D)


class GPT(nn.Module):
    """embedding -> attention -> logits."""

    def __init__(self, vocab_size: int, block_size: Length, n_embd: Size, head_size: Size) -> None:
        super().__init__()
        self.block_size = block_size
        self.embedding = Embedding(vocab_size, block_size, n_embd)
        self.attention = Head(n_embd, head_size)
        self.lm_head = nn.Linear(head_size, vocab_size)

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) int64 token ids, T <= block_size -> logits: (B, T, V)."""
        return self.lm_head(self.attention(self.embedding(idx)))  # (B, T, V)
