"""v6 without its positions or its feed-forward layers: `experiment=v6_parts` says what each part of v6 is worth."""

from typing import cast

from torch import Tensor, nn

from gpt.base.choices import Depth, Length, Size
from gpt.models import v6_pre_norm


class WithoutPositions(v6_pre_norm.GPT):
    """With token embeddings alone: the order of the tokens shows in the causal mask only."""

    def __init__(self, vocab_size: int, block_size: Length, n_embd: Size, n_head: Size, n_layer: Depth) -> None:
        super().__init__(vocab_size, block_size, n_embd, n_head, n_layer)
        self.add_module("embedding", self.embedding.token)


class AttentionBlock(nn.Module):
    """Attention alone."""

    def __init__(self, block: v6_pre_norm.Block) -> None:
        super().__init__()
        self.attention_norm, self.attention = block.attention_norm, block.attention

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        return x + self.attention(self.attention_norm(x))


class WithoutFeedForward(v6_pre_norm.GPT):
    """With blocks of attention alone."""

    def __init__(self, vocab_size: int, block_size: Length, n_embd: Size, n_head: Size, n_layer: Depth) -> None:
        super().__init__(vocab_size, block_size, n_embd, n_head, n_layer)
        self.blocks = nn.Sequential(*(AttentionBlock(cast(v6_pre_norm.Block, block)) for block in self.blocks))
