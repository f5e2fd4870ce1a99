"""v6 without one of its parts: `experiment=v6_parts` says what each is worth."""

from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from gpt.models import v6_pre_norm
from gpt.models.variants import signature_of


class WithoutPositions(v6_pre_norm.GPT):
    """With token embeddings alone: the order of the tokens shows in the causal mask only."""

    @signature_of(v6_pre_norm.GPT.__init__)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.add_module("embedding", self.embedding.token)


class WithoutResiduals(v6_pre_norm.GPT):
    """With blocks whose branches and norms follow one another, without v5's plus signs."""

    @signature_of(v6_pre_norm.GPT.__init__)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.blocks = nn.Sequential(*(nn.Sequential(OrderedDict(block.named_children())) for block in self.blocks))


class Block(nn.Module):
    """One of the two branches alone, "attention" or "feed_forward"."""

    def __init__(self, block: nn.Module, branch: str) -> None:
        super().__init__()
        self.names = (branch, f"{branch}_norm")
        for name in self.names:
            self.add_module(name, block.get_submodule(name))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        branch, norm = map(self.get_submodule, self.names)
        return x + branch(norm(x))


class WithoutFeedForward(v6_pre_norm.GPT):
    """With blocks of attention alone."""

    branch = "attention"

    @signature_of(v6_pre_norm.GPT.__init__)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.blocks = nn.Sequential(*(Block(block, self.branch) for block in self.blocks))


class WithoutAttention(WithoutFeedForward):
    """With blocks of a feed-forward layer alone: no position reads another."""

    branch = "feed_forward"
