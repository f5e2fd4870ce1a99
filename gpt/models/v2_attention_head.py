"""v2: one head of causal self-attention. Each token looks back at the tokens before it.

Source: "Attention Is All You Need" (Vaswani et al., 2017), section 3.2.1.
"""

import torch
from torch import Tensor, nn

from gpt.config.choices import Length, Size


class Embedding(nn.Module):
    """One learned vector per token id plus one per position."""

    def __init__(self, vocab_size: int, n_positions: int, n_embd: int) -> None:
        super().__init__()
        self.token = nn.Embedding(vocab_size, n_embd)
        self.position = nn.Embedding(n_positions, n_embd)

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) token ids -> (B, T, C)."""
        T = idx.shape[1]
        return self.token(idx) + self.position.weight[:T]  # (B, T, C) + (T, C)


class Head(nn.Module):
    """softmax(q k^T / sqrt(D)) v, in which no token sees a later one."""

    def __init__(self, n_embd: int, head_size: int) -> None:
        super().__init__()
        self.query = nn.Linear(n_embd, head_size, bias=False)
        self.key = nn.Linear(n_embd, head_size, bias=False)
        self.value = nn.Linear(n_embd, head_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, D)."""
        T = x.shape[1]
        q, k, v = self.query(x), self.key(x), self.value(x)  # (B, T, D) each
        # Dividing by sqrt(D) keeps the variance of the scores from growing with D, and softmax from starting one-hot.
        scores = q @ k.transpose(-2, -1) * k.shape[-1] ** -0.5  # (B, T, T)
        future = torch.ones(T, T, dtype=torch.bool, device=x.device).triu(diagonal=1)  # the key comes after the query
        scores = scores.masked_fill(future, float("-inf"))
        return scores.softmax(dim=-1) @ v  # (B, T, T) @ (B, T, D) -> (B, T, D)


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
        x = self.embedding(idx)  # (B, T, C)
        x = self.attention(x)  # (B, T, D)
        return self.lm_head(x)  # (B, T, V)
