"""v3: several heads in one tensor. Replace each BLANK, then run `python -m exercises v3`.

The idea: docs/course/v3.md. H heads of D channels each, C = H D.
"""

import torch
from torch import Tensor, nn

from exercises import BLANK
from gpt.models.v2_attention_head import Embedding


class MultiHeadAttention(nn.Module):
    """H heads side by side, computed at once; their outputs are concatenated."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.qkv = nn.Linear(n_embd, 3 * n_embd, bias=False)  # queries of all heads, then keys, then values

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        B, T, C = x.shape
        H, D = self.n_head, C // self.n_head
        qkv = self.qkv(x)  # (B, T, 3C)
        heads = BLANK  # (3, B, H, T, D)
        q, k, v = heads  # (B, H, T, D) each
        read = BLANK  # (B, H, T, D): what v2 computes, for each head
        return BLANK  # (B, T, C): the heads' outputs, side by side


class GPT(nn.Module):
    """embedding -> attention -> logits; `python -m exercises v3 --train` trains it."""

    def __init__(self, vocab_size: int, block_size: int, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.block_size = block_size
        self.embedding = Embedding(vocab_size, block_size, n_embd)
        self.attention = MultiHeadAttention(n_embd, n_head)
        self.lm_head = nn.Linear(n_embd, vocab_size)

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) token ids -> logits: (B, T, V)."""
        return self.lm_head(self.attention(self.embedding(idx)))
