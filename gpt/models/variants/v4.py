"""v4 with one thing changed: `experiment=first_weights` says what each is worth."""

from typing import Any

from torch import nn

from gpt.models import v4_blocks, v5_residual
from gpt.models.v3_feed_forward import FeedForward
from gpt.models.variants import signature_of


class WithScaledInit(v4_blocks.GPT):
    """With first weights that keep the scale of activations: variance 1 / C, and 2 / C before a ReLU.

    Source: "Delving Deep into Rectifiers" (He et al., 2015), section 2.2. PyTorch's have 1 / (3 C).
    """

    @signature_of(v4_blocks.GPT.__init__)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        block: Any
        for block in self.blocks:
            for layer, gain in ((block.attention.qkv, 3**0.5), (block.feed_forward[0], 6**0.5)):
                layer.reset_parameters()
                layer.weight.data.mul_(gain)
                layer.gain = gain


class WithResiduals(v5_residual.GPT):
    """With v5's plus signs, but neither its projections nor its wider feed-forward layers."""

    @signature_of(v5_residual.GPT.__init__)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        block: Any
        for block in self.blocks:
            block.attention.projection, block.feed_forward = nn.Identity(), FeedForward(self.lm_head.in_features)
