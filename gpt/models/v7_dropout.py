"""v7: dropout, and a larger model. Dropout regularises a model that is large enough to memorise the corpus.

Source: "Dropout: A Simple Way to Prevent Neural Networks from Overfitting" (Srivastava et al., 2014), section 4,
here on the attention weights and on the output of either branch, as in GPT-2.
"""

from torch import Tensor, nn

from gpt.choices import Depth, Fraction, Length, Size
from gpt.models.attention import Dropout
from gpt.models.v2_attention_head import Embedding
from gpt.models.v5_projection import FeedForward, MultiHeadAttention


class Block(nn.Module):
    """Attention, then feed-forward."""

    def __init__(self, n_embd: int, n_head: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(n_embd)
        self.attention = MultiHeadAttention(n_embd, n_head)
        self.feed_forward_norm = nn.LayerNorm(n_embd)
        self.feed_forward = FeedForward(n_embd)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        x = x + self.dropout(self.attention(self.attention_norm(x), self.dropout))  # (B, T, C)
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))  # (B, T, C)


class GPT(nn.Module):
    """embedding -> L blocks -> logits."""

    uses_cache = True  # pays off with windows of 256 tokens

    def __init__(
        self, vocab_size: int, block_size: Length, n_embd: Size, n_head: Size, n_layer: Depth, dropout: Fraction
    ) -> None:
        super().__init__()
        self.block_size = block_size
        self.embedding = Embedding(vocab_size, block_size, n_embd)
        self.blocks = nn.Sequential(*(Block(n_embd, n_head, dropout) for _ in range(n_layer)))
        self.norm = nn.LayerNorm(n_embd)
        self.lm_head = nn.Linear(n_embd, vocab_size)

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) int64 token ids, T <= block_size -> logits: (B, T, V)."""
        x = self.embedding(idx)  # (B, T, C)
        x = self.blocks(x)  # (B, T, C)
        return self.lm_head(self.norm(x))  # (B, T, V)
