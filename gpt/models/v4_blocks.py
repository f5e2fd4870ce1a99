"""v4: attention and feed-forward as a block, and several blocks stacked.

On its own, the depth makes the loss worse, and `experiment=first_weights` tests why. v5 fixes that.
"""

from torch import Tensor, nn

from gpt.config.choices import Depth, Length, Size
from gpt.models.v2_attention_head import Embedding
from gpt.models.v3_attention_heads import MultiHeadAttention
from gpt.models.v3_feed_forward import FeedForward


class Block(nn.Module):
    """Attention, then feed-forward."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(n_embd, n_head)
        self.feed_forward = FeedForward(n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        x = self.attention(x)  # (B, T, C)
        return self.feed_forward(x)  # (B, T, C)


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
