"""v4: a feed-forward layer, and blocks of attention and feed-forward. Run `python -m exercises v4`.

The ideas: docs/course/v3_ffn.md and docs/course/v4.md. Replace each BLANK; keep the layers' names.
"""

import torch
from torch import Tensor, nn

from exercises import BLANK
from gpt.models.v2_attention_head import Embedding
from gpt.models.v3_attention_heads import MultiHeadAttention


class FeedForward(nn.Module):
    """A small network for each position by itself."""

    def __init__(self, n_embd: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_embd, n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        hidden = BLANK  # (B, T, C)
        return BLANK  # (B, T, C)


class Block(nn.Module):
    """Attention collects, then feed-forward computes with what was collected."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(n_embd, n_head)
        self.feed_forward = FeedForward(n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        attended = BLANK  # (B, T, C)
        return BLANK  # (B, T, C)


class GPT(nn.Module):
    """embedding -> L blocks -> logits; `python -m exercises v4 --train` trains it."""

    def __init__(self, vocab_size: int, block_size: int, n_embd: int, n_head: int, n_layer: int) -> None:
        super().__init__()
        self.block_size = block_size
        self.embedding = Embedding(vocab_size, block_size, n_embd)
        self.blocks = nn.Sequential(*(Block(n_embd, n_head) for _ in range(n_layer)))
        self.lm_head = nn.Linear(n_embd, vocab_size)

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) token ids -> logits: (B, T, V)."""
        return self.lm_head(self.blocks(self.embedding(idx)))
