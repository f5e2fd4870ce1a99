"""v5: residual connections. A layer adds to what is there, so the gradient has a straight way back.

Each branch ends in a linear projection, which lets it choose what it adds to the residual stream, and
the feed-forward layer gets its hidden layer of 4C.

Sources: "Deep Residual Learning for Image Recognition" (He et al., 2015), section 3.1;
"Attention Is All You Need" (Vaswani et al., 2017), sections 3.1 to 3.3.
"""

from torch import Tensor, nn

from gpt.models.v2_single_head import Embedding
from gpt.models.v3_multi_head import MultiHeadAttention


class ProjectedAttention(nn.Sequential):
    """v3's heads, then a projection that mixes them: (B, T, C) -> (B, T, C)."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__(MultiHeadAttention(n_embd, n_head), nn.Linear(n_embd, n_embd))


class FeedForward(nn.Sequential):
    """relu(x W1 + b1) W2 + b2 with a hidden layer of 4C: (B, T, C) -> (B, T, C)."""

    def __init__(self, n_embd: int) -> None:
        super().__init__(nn.Linear(n_embd, 4 * n_embd), nn.ReLU(), nn.Linear(4 * n_embd, n_embd))


class Block(nn.Module):
    """v4's block with its two halves as residual branches."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.attention = ProjectedAttention(n_embd, n_head)
        self.feed_forward = FeedForward(n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        x = x + self.attention(x)  # (B, T, C)
        return x + self.feed_forward(x)  # (B, T, C)


class ResidualModel(nn.Module):
    """embedding -> L residual blocks -> logits."""

    def __init__(self, vocab_size: int, block_size: int, n_embd: int, n_head: int, n_layer: int) -> None:
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
