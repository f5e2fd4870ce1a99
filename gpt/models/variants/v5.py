"""v5 without its residual connections: `experiment=v6_parts` says what they are worth."""

from collections import OrderedDict
from typing import Any

from torch import nn

from gpt.models import v5_residual
from gpt.models.variants import signature_of


class WithoutResiduals(v5_residual.GPT):
    """With the projections and the wider feed-forward layer that v5 adds to v4 along with the connections."""

    @signature_of(v5_residual.GPT.__init__)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.blocks = nn.Sequential(*(nn.Sequential(OrderedDict(block.named_children())) for block in self.blocks))
