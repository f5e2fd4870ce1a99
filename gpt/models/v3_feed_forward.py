"""v3_ffn: a feed-forward layer after attention. It processes each token by itself.

Source: "Attention Is All You Need" (Vaswani et al., 2017), section 3.3, with one linear layer instead of two
(the second, and the wider hidden layer, come with v5).
"""

from torch import Tensor, nn

from gpt.config.choices import Length, Size
from gpt.models.v2_attention_head import Embedding
from gpt.models.v3_attention_heads import MultiHeadAttention


class FeedForward(nn.Sequential):
    """relu(x W + b), the same for every position: (B, T, C) -> (B, T, C)."""

    def __init__(self, n_embd: int) -> None:
        super().__init__(nn.Linear(n_embd, n_embd), nn.ReLU())


class GPT(nn.Module):
    """embedding -> attention -> feed-forward -> logits."""

    def __init__(self, vocab_size: int, block_size: Length, n_embd: Size, n_head: Size) -> None:
        super().__init__()
        self.block_size = block_size
        self.embedding = Embedding(vocab_size, block_size, n_embd)
        self.attention = MultiHeadAttention(n_embd, n_head)
        self.feed_forward = FeedForward(n_embd)
        self.lm_head = nn.Linear(n_embd, vocab_size)

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) int64 token ids, T <= block_size -> logits: (B, T, V)."""
        x = self.embedding(idx)  # (B, T, C)
        x = self.attention(x)  # (B, T, C)
        x = self.feed_forward(x)  # (B, T, C)
        return self.lm_head(x)  # (B, T, V)
