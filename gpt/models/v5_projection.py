"""The branches of v5's block and of all later ones: each ends in a linear projection.

The projection lets a branch choose what it adds to the residual stream.

Source: "Attention Is All You Need" (Vaswani et al., 2017), sections 3.2.2 and 3.3.
"""

from torch import Tensor, nn

from gpt.models import v3_attention_heads
from gpt.models.attention import Dropout


class MultiHeadAttention(v3_attention_heads.MultiHeadAttention):
    """v3's heads, then a linear projection that mixes their outputs."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__(n_embd, n_head)
        self.projection = nn.Linear(n_embd, n_embd)

    def forward(self, x: Tensor, dropout: Dropout | None = None) -> Tensor:
        """x: (B, T, C) -> (B, T, C); `dropout` is for the attention weights, in v7."""
        return self.projection(super().forward(x, dropout))  # (B, T, C)


class FeedForward(nn.Sequential):
    """relu(x W1 + b1) W2 + b2 with a hidden layer of 4C: (B, T, C) -> (B, T, C)."""

    def __init__(self, n_embd: int) -> None:
        super().__init__(nn.Linear(n_embd, 4 * n_embd), nn.ReLU(), nn.Linear(4 * n_embd, n_embd))
