"""v5: residual connections. Each branch adds to its input ("Deep Residual Learning", He et al., 2015, section 3.1)."""

from torch import Tensor, nn

from gpt.config.choices import Depth, Length, Size
from gpt.models import v3_attention_heads
from gpt.models.v2_attention_head import Embedding


class MultiHeadAttention(v3_attention_heads.MultiHeadAttention):
    """v3's heads, then a linear projection that mixes their outputs ("Attention Is All You Need", section 3.2.2)."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__(n_embd, n_head)
        self.projection = nn.Linear(n_embd, n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        return self.projection(super().forward(x))  # (B, T, C)


class Block(nn.Module):
    """Attention, then feed-forward."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(n_embd, n_head)
        self.feed_forward = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.ReLU(), nn.Linear(4 * n_embd, n_embd))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        x = x + self.attention(x)  # (B, T, C)
        return x + self.feed_forward(x)  # (B, T, C)


class GPT(nn.Module):
    """embedding -> L blocks -> logits."""

    def __init__(self, vocab_size: int, block_size: Length, n_embd: Size, n_head: Size, n_layer: Depth) -> None:
        super().__init__()
        self.block_size = block_size
        self.embedding = Embedding(vocab_size, block_size, n_embd)
        self.blocks = nn.Sequential(*(Block(n_embd, n_head) for _ in range(n_layer)))
        self.lm_head = nn.Linear(n_embd, vocab_size)

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) int64 token ids, T <= block_size -> logits: (B, T, V)."""
        x = self.embedding(idx)  # (B, T, C)
        x = self.blocks(x)  # (B, T, C)
        return self.lm_head(x)  # (B, T, V)
