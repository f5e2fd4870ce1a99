"""v8: ideas newer than GPT-2. docs/records.md says what each is worth at this size, as far as it was measured.

- Rotary positions: queries and keys are rotated by their positions, instead of adding position vectors ("RoFormer",
  Su et al., 2021, section 3.2). Scores then depend on distances only, so a full window can slide.
- Token shift: each branch reads a learned mixture of a token and the one before it ("RWKV", Peng et al., 2023, 3.1).
- RMSNorm: divide by the root mean square, without gains (Zhang and Sennrich, 2019, section 4), instead of LayerNorm.
- Normalised queries and keys, which bounds the scores ("Query-Key Normalization", Henry et al., 2020, section 3).
- Squared ReLU: relu(x)^2 in the feed-forward layer ("Primer", So et al., 2021, section 4).
- Zero initialisation: a block begins as the identity ("ReZero", Bachlechner et al., 2020, section 3).
- Soft cap: the logits are squashed into (-15, 15) ("Gemma 2", 2024, section 2).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gpt.base.choices import Depth, Fraction, Length, Size
from gpt.models.attention import Dropout, causal_attention
from gpt.models.kv_cache import Cached, previous
from gpt.models.rotary import Rotation
from gpt.models.v3_attention_heads import check_heads

_SOFT_CAP = 15.0


def zero(linear: nn.Linear) -> nn.Linear:
    """Set the layer's weight to zero."""
    nn.init.zeros_(linear.weight)
    return linear


class TokenShift(nn.Module):
    """A mixture of each token and the one before it, learned for each channel; at first, the token alone."""

    def __init__(self, n_embd: int) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.zeros(n_embd))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        return torch.lerp(x, previous(x), self.share.to(x.dtype))


class Attention(nn.Module):
    """Causal self-attention between rotated, normalised queries and keys."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.norm = nn.RMSNorm(n_embd // n_head, elementwise_affine=False)
        self.qkv = nn.Linear(n_embd, 3 * n_embd, bias=False)
        self.projection = zero(nn.Linear(n_embd, n_embd, bias=False))

    def forward(self, x: Tensor, rotation: Callable[[Tensor], Tensor]) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        B, T, C = x.shape
        qkv = self.qkv(x).view(B, T, 3, self.n_head, C // self.n_head).permute(2, 0, 3, 1, 4)  # (3, B, H, T, D)
        q, k = rotation(self.norm(qkv[:2]))  # (B, H, T, D) each
        y = causal_attention(q, k, qkv[2])  # (B, H, T, D)
        return self.projection(y.transpose(1, 2).reshape(B, T, C))  # (B, T, C)


class SquaredReLU(nn.Module):
    """relu(x)^2."""

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape -> the same shape."""
        return x.relu().square()


class Block(nn.Module):
    """Attention, then feed-forward."""

    def __init__(self, n_embd: int, n_head: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(n_embd, elementwise_affine=False)
        self.attention_shift, self.feed_forward_shift = TokenShift(n_embd), TokenShift(n_embd)
        self.attention = Attention(n_embd, n_head)
        hidden, output = nn.Linear(n_embd, 4 * n_embd, bias=False), zero(nn.Linear(4 * n_embd, n_embd, bias=False))
        self.feed_forward = nn.Sequential(hidden, SquaredReLU(), output)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, rotation: Callable[[Tensor], Tensor]) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        x = x + self.dropout(self.attention(self.attention_shift(self.norm(x)), rotation))  # (B, T, C)
        return x + self.dropout(self.feed_forward(self.feed_forward_shift(self.norm(x))))  # (B, T, C)


class GPT(Cached):
    """embedding -> L blocks -> logits."""

    slides = True  # rotated positions are relative

    def __init__(
        self, vocab_size: int, block_size: Length, n_embd: Size, n_head: Size, n_layer: Depth, dropout: Fraction
    ) -> None:
        super().__init__()
        check_heads(n_embd, n_head)
        if n_embd // n_head % 2:
            raise ValueError(f"rotary positions need an even head size, not n_embd={n_embd} / n_head={n_head}")
        self.block_size, self.head_size = block_size, n_embd // n_head
        self.embedding: nn.Module = nn.Embedding(vocab_size, n_embd)
        self.blocks = nn.ModuleList(Block(n_embd, n_head, dropout) for _ in range(n_layer))
        self.norm = nn.RMSNorm(n_embd, elementwise_affine=False)
        self.lm_head = zero(nn.Linear(n_embd, vocab_size))

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) int64 token ids, T <= block_size -> logits: (B, T, V)."""
        x = self.embedding(idx)  # (B, T, C)
        x = self.body(x)  # (B, T, C)
        return self.logits(x)  # (B, T, V)

    def body(self, x: Tensor) -> Tensor:
        """The blocks, with a norm before and after them: (B, T, C) -> (B, T, C)."""
        rotation = Rotation(x.shape[1], self.head_size, x.device)
        x = self.norm(x)
        for block in self.blocks:
            x = block(x, rotation)  # (B, T, C)
        return self.norm(x)

    def logits(self, x: Tensor) -> Tensor:
        """The output layer: (B, T, C) -> (B, T, V)."""
        return _SOFT_CAP * torch.tanh(self.lm_head(x) / _SOFT_CAP)
