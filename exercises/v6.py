"""v6: LayerNorm before each branch. Replace each BLANK, then run `python -m exercises v6`.

The idea: docs/course/v6.md. PyTorch has nn.LayerNorm; here you write it with means. Keep the layers' names.
"""

import torch
from torch import Tensor, nn

from exercises import BLANK
from gpt.models.v2_attention_head import Embedding
from gpt.models.v5_residual import MultiHeadAttention


class LayerNorm(nn.Module):
    """Each token's channels get mean 0 and variance 1, then a learned scale and mean."""

    def __init__(self, n_embd: int) -> None:
        super().__init__()
        self.eps = 1e-5
        self.weight = nn.Parameter(torch.ones(n_embd))
        self.bias = nn.Parameter(torch.zeros(n_embd))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        mean = BLANK  # (B, T, 1)
        variance = BLANK  # (B, T, 1)
        normalised = BLANK  # (B, T, C)
        return BLANK  # (B, T, C)


class Block(nn.Module):
    """Attention, then feed-forward; each reads the normalised stream and adds to the stream."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.attention_norm = LayerNorm(n_embd)
        self.attention = MultiHeadAttention(n_embd, n_head)
        self.feed_forward_norm = LayerNorm(n_embd)
        self.feed_forward = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.ReLU(), nn.Linear(4 * n_embd, n_embd))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        attended = BLANK  # (B, T, C): x and what the attention adds
        return BLANK  # (B, T, C): that, and what the feed-forward layer adds


class GPT(nn.Module):
    """embedding -> L blocks -> norm -> logits; `python -m exercises v6 --train` trains it."""

    def __init__(self, vocab_size: int, block_size: int, n_embd: int, n_head: int, n_layer: int) -> None:
        super().__init__()
        self.block_size = block_size
        self.embedding = Embedding(vocab_size, block_size, n_embd)
        self.blocks = nn.Sequential(*(Block(n_embd, n_head) for _ in range(n_layer)))
        self.norm = LayerNorm(n_embd)
        self.lm_head = nn.Linear(n_embd, vocab_size)

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) token ids -> logits: (B, T, V)."""
        return self.lm_head(self.norm(self.blocks(self.embedding(idx))))
