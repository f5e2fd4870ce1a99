"""v5: residual connections. Replace each BLANK, then run `python -m exercises v5`.

The idea: docs/course/v5.md. Keep the names of the layers.
"""

import torch
from torch import Tensor, nn

from exercises import BLANK
from gpt.models.v2_attention_head import Embedding
from gpt.models.v5_residual import MultiHeadAttention


class Block(nn.Module):
    """Attention, then feed-forward; each adds to its input."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(n_embd, n_head)
        self.feed_forward = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.ReLU(), nn.Linear(4 * n_embd, n_embd))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        attended = BLANK  # (B, T, C): x and what the attention adds
        return BLANK  # (B, T, C): that, and what the feed-forward layer adds


class GPT(nn.Module):
    """embedding -> L blocks -> logits; `python -m exercises v5 --train` trains it."""

    def __init__(self, vocab_size: int, block_size: int, n_embd: int, n_head: int, n_layer: int) -> None:
        super().__init__()
        self.block_size = block_size
        self.embedding = Embedding(vocab_size, block_size, n_embd)
        self.blocks = nn.Sequential(*(Block(n_embd, n_head) for _ in range(n_layer)))
        self.lm_head = nn.Linear(n_embd, vocab_size)

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) token ids -> logits: (B, T, V)."""
        return self.lm_head(self.blocks(self.embedding(idx)))
