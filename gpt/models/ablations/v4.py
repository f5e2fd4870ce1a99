"""v4 with one thing changed."""

from typing import Any

from torch import nn

from gpt.base.choices import Depth, Length, Size
from gpt.models import v4_blocks, v5_residual
from gpt.models.v3_feed_forward import FeedForward


class Linear(nn.Linear):
    """A linear layer whose first weights are `gain` times as large as PyTorch's."""

    def __init__(self, n_in: int, n_out: int, bias: bool, gain: float) -> None:
        self.gain = gain
        super().__init__(n_in, n_out, bias)

    def reset_parameters(self) -> None:
        """Draw the first weights."""
        super().reset_parameters()
        self.weight.data.mul_(self.gain)


class WithScaledInit(v4_blocks.GPT):
    """With first weights that keep the scale from layer to layer: variance 1 / C, and 2 / C before a ReLU.

    Source: "Delving Deep into Rectifiers" (He et al., 2015), section 2.2. PyTorch's have 1 / (3 C).
    """

    def __init__(self, vocab_size: int, block_size: Length, n_embd: Size, n_head: Size, n_layer: Depth) -> None:
        super().__init__(vocab_size, block_size, n_embd, n_head, n_layer)
        block: Any
        for block in self.blocks:
            block.attention.qkv = Linear(n_embd, 3 * n_embd, bias=False, gain=3**0.5)
            block.feed_forward[0] = Linear(n_embd, n_embd, bias=True, gain=6**0.5)


class WithResiduals(v5_residual.GPT):
    """With v5's plus signs, but neither its projections nor its wider feed-forward layers."""

    def __init__(self, vocab_size: int, block_size: Length, n_embd: Size, n_head: Size, n_layer: Depth) -> None:
        super().__init__(vocab_size, block_size, n_embd, n_head, n_layer)
        block: Any
        for block in self.blocks:
            block.attention.projection, block.feed_forward = nn.Identity(), FeedForward(n_embd)
