"""v8: ideas newer than GPT-2 that help at this size. docs/lab/records.md says what each idea is worth.

- Rotary positions: queries and keys are rotated by their positions, instead of adding position vectors ("RoFormer",
  Su et al., 2021, section 3.2). Scores then depend on distances only, so a full window can slide.
- Token shift: each branch reads a learned mixture of a token and the one before it ("RWKV", Peng et al., 2023, 3.1).
- Squared ReLU: relu(x)^2 in the feed-forward layer ("Primer", So et al., 2021, section 4).
"""

import torch
from torch import Tensor, nn

from gpt.config.choices import Depth, Fraction, Length, Size
from gpt.models import v5_residual
from gpt.models.attention import Dropout
from gpt.models.kv_cache import Cached, with_left_context
from gpt.models.rotary import RotaryPositions
from gpt.models.squared_relu import SquaredReLU


class MultiHeadAttention(v5_residual.MultiHeadAttention):
    """v5's attention, between rotated queries and keys."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__(n_embd, n_head)
        self.positions = RotaryPositions()

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """What each head reads: (B, H, T, D) each -> (B, H, T, D)."""
        q, k = self.positions(q, k)
        return super().attend(q, k, v)


class TokenShift(nn.Module):
    """A mixture of each token and the one before it, learned for each channel; at first, the token alone."""

    def __init__(self, n_embd: int) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.zeros(n_embd))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        previous = with_left_context(x, 1)[:, :-1]  # (B, T, C)
        return torch.lerp(x, previous, self.share.to(x.dtype))


class Block(nn.Module):
    """Attention, then feed-forward."""

    def __init__(self, n_embd: int, n_head: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(n_embd)
        self.attention_shift = TokenShift(n_embd)
        self.attention = MultiHeadAttention(n_embd, n_head)
        self.feed_forward_norm = nn.LayerNorm(n_embd)
        self.feed_forward_shift = TokenShift(n_embd)
        self.feed_forward = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), SquaredReLU(), nn.Linear(4 * n_embd, n_embd))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        x = x + self.dropout(self.attention(self.attention_shift(self.attention_norm(x))))  # (B, T, C)
        return x + self.dropout(self.feed_forward(self.feed_forward_shift(self.feed_forward_norm(x))))  # (B, T, C)


class GPT(Cached):
    """embedding -> L blocks -> logits."""

    slides = True  # rotated positions are relative

    def __init__(
        self, vocab_size: int, block_size: Length, n_embd: Size, n_head: Size, n_layer: Depth, dropout: Fraction
    ) -> None:
        super().__init__()
        if n_embd // n_head % 2:
            raise ValueError(f"rotary positions need an even head size, not n_embd={n_embd} / n_head={n_head}")
        self.block_size = block_size
        self.embedding = nn.Embedding(vocab_size, n_embd)
        self.blocks = nn.Sequential(*(Block(n_embd, n_head, dropout) for _ in range(n_layer)))
        self.norm = nn.LayerNorm(n_embd)
        self.lm_head = nn.Linear(n_embd, vocab_size)

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) int64 token ids, T <= block_size -> logits: (B, T, V)."""
        x = self.embedding(idx)  # (B, T, C)
        x = self.blocks(x)  # (B, T, C)
        x = self.norm(x)  # (B, T, C)
        return self.lm_head(x)  # (B, T, V)
