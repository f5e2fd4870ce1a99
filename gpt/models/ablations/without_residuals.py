"""v5 and v6 without their residual connections, for comparison: `experiment=depth_without_residuals`.

Both keep the projections and the wider feed-forward layer that v5 adds to v4 along with the connections.
"""

from torch import Tensor, nn

from gpt.base.choices import Depth, Length, Size
from gpt.models.v2_attention_head import Embedding
from gpt.models.v5_residual import MultiHeadAttention


class Block(nn.Module):
    """Attention, then feed-forward; each reads a normalised input if `layer_norm` is true, as in v6."""

    def __init__(self, n_embd: int, n_head: int, layer_norm: bool) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(n_embd) if layer_norm else nn.Identity()
        self.attention = MultiHeadAttention(n_embd, n_head)
        self.feed_forward_norm = nn.LayerNorm(n_embd) if layer_norm else nn.Identity()
        self.feed_forward = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.ReLU(), nn.Linear(4 * n_embd, n_embd))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        x = self.attention(self.attention_norm(x))  # (B, T, C)
        return self.feed_forward(self.feed_forward_norm(x))  # (B, T, C)


class GPT(nn.Module):
    """embedding -> L blocks -> logits."""

    def __init__(
        self, vocab_size: int, block_size: Length, n_embd: Size, n_head: Size, n_layer: Depth, layer_norm: bool
    ) -> None:
        super().__init__()
        self.block_size = block_size
        self.embedding = Embedding(vocab_size, block_size, n_embd)
        self.blocks = nn.Sequential(*(Block(n_embd, n_head, layer_norm) for _ in range(n_layer)))
        self.norm = nn.LayerNorm(n_embd) if layer_norm else nn.Identity()
        self.lm_head = nn.Linear(n_embd, vocab_size)

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) int64 token ids, T <= block_size -> logits: (B, T, V)."""
        x = self.embedding(idx)  # (B, T, C)
        x = self.blocks(x)  # (B, T, C)
        return self.lm_head(self.norm(x))  # (B, T, V)
