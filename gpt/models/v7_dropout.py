"""v7: dropout, and a larger model. Dropout regularises a model that is large enough to memorise the corpus.

Source: "Dropout" (Srivastava et al., 2014), section 4, on the attention weights and each branch's output, as in GPT-2.
"""

from torch import Tensor, nn

from gpt.config.choices import Depth, Fraction, Length, Size
from gpt.models import v5_residual
from gpt.models.attention import Dropout, causal_attention
from gpt.models.kv_cache import Cached, CachedEmbedding


class MultiHeadAttention(v5_residual.MultiHeadAttention):
    """v5's attention, with dropout of the attention weights."""

    def __init__(self, n_embd: int, n_head: int, dropout: float) -> None:
        super().__init__(n_embd, n_head)
        self.dropout = Dropout(dropout)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of each head: q, k and v, (B, H, T, D) each -> (B, H, T, D)."""
        return causal_attention(q, k, v, self.dropout)


class Block(nn.Module):
    """Attention, then feed-forward."""

    def __init__(self, n_embd: int, n_head: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(n_embd)
        self.attention = MultiHeadAttention(n_embd, n_head, dropout)
        self.feed_forward_norm = nn.LayerNorm(n_embd)
        self.feed_forward = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.ReLU(), nn.Linear(4 * n_embd, n_embd))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        x = x + self.dropout(self.attention(self.attention_norm(x)))  # (B, T, C)
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))  # (B, T, C)


class GPT(Cached):
    """embedding -> L blocks -> logits."""

    def __init__(
        self, vocab_size: int, block_size: Length, n_embd: Size, n_head: Size, n_layer: Depth, dropout: Fraction
    ) -> None:
        super().__init__()
        self.block_size = block_size
        self.embedding = CachedEmbedding(vocab_size, block_size, n_embd)
        self.blocks = nn.Sequential(*(Block(n_embd, n_head, dropout) for _ in range(n_layer)))
        self.norm = nn.LayerNorm(n_embd)
        self.lm_head = nn.Linear(n_embd, vocab_size)

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) int64 token ids, T <= block_size -> logits: (B, T, V)."""
        x = self.embedding(idx)  # (B, T, C)
        x = self.blocks(x)  # (B, T, C)
        x = self.norm(x)  # (B, T, C)
        return self.lm_head(x)  # (B, T, V)
