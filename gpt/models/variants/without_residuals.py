"""v5 and v6 without their residual connections, for comparison: `experiment=v6_parts`.

Both keep the projections and the wider feed-forward layer that v5 adds to v4 along with the connections.
"""

from typing import cast

from torch import Tensor, nn

from gpt.config.choices import Depth, Length, Size
from gpt.models import v6_pre_norm


class Block(nn.Module):
    """Attention, then feed-forward; each reads a normalised input if `layer_norm` is true, as in v6."""

    def __init__(self, block: v6_pre_norm.Block, layer_norm: bool) -> None:
        super().__init__()
        self.attention_norm = block.attention_norm if layer_norm else nn.Identity()
        self.attention = block.attention
        self.feed_forward_norm = block.feed_forward_norm if layer_norm else nn.Identity()
        self.feed_forward = block.feed_forward

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        x = self.attention(self.attention_norm(x))  # (B, T, C)
        return self.feed_forward(self.feed_forward_norm(x))  # (B, T, C)


class GPT(v6_pre_norm.GPT):
    """embedding -> L blocks -> logits."""

    def __init__(
        self, vocab_size: int, block_size: Length, n_embd: Size, n_head: Size, n_layer: Depth, layer_norm: bool
    ) -> None:
        super().__init__(vocab_size, block_size, n_embd, n_head, n_layer)
        self.blocks = nn.Sequential(*(Block(cast(v6_pre_norm.Block, block), layer_norm) for block in self.blocks))
        if not layer_norm:
            self.add_module("norm", nn.Identity())
