"""v7: dropout. Replace each BLANK, then run `python -m exercises v7`.

The idea: docs/course/v7.md. PyTorch has nn.Dropout; here you draw the mask.
"""

import torch
from torch import Tensor, nn

from exercises import BLANK
from gpt.models.v2_attention_head import Embedding
from gpt.models.v5_residual import MultiHeadAttention


class Dropout(nn.Module):
    """In training, each number becomes 0 with probability p, and the others make up for it."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape -> the same shape. self.training is True in training, False at evaluation."""
        BLANK  # at evaluation, nothing happens
        keep = BLANK  # the shape of x: whether each number stays
        return BLANK


class Block(nn.Module):
    """v6's block, with dropout of what each branch adds."""

    def __init__(self, n_embd: int, n_head: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(n_embd)
        self.attention = MultiHeadAttention(n_embd, n_head)
        self.feed_forward_norm = nn.LayerNorm(n_embd)
        self.feed_forward = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.ReLU(), nn.Linear(4 * n_embd, n_embd))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        x = x + self.dropout(self.attention(self.attention_norm(x)))  # (B, T, C)
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))  # (B, T, C)


class GPT(nn.Module):
    """embedding -> L blocks -> norm -> logits. v7 is large: --train takes minutes on a GPU, hours without one."""

    def __init__(
        self, vocab_size: int, block_size: int, n_embd: int, n_head: int, n_layer: int, dropout: float
    ) -> None:
        super().__init__()
        self.block_size = block_size
        self.embedding = Embedding(vocab_size, block_size, n_embd)
        self.blocks = nn.Sequential(*(Block(n_embd, n_head, dropout) for _ in range(n_layer)))
        self.norm = nn.LayerNorm(n_embd)
        self.lm_head = nn.Linear(n_embd, vocab_size)

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) token ids -> logits: (B, T, V)."""
        return self.lm_head(self.norm(self.blocks(self.embedding(idx))))
