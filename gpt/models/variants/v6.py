"""v6 without one of its parts: `experiment=v6_parts` says what each is worth."""

from torch import Tensor, nn

from gpt.config.choices import Depth, Length, Size
from gpt.models import v6_pre_norm


class WithoutPositions(v6_pre_norm.GPT):
    """With token embeddings alone: the order of the tokens shows in the causal mask only."""

    def __init__(self, vocab_size: int, block_size: Length, n_embd: Size, n_head: Size, n_layer: Depth) -> None:
        super().__init__(vocab_size, block_size, n_embd, n_head, n_layer)
        self.add_module("embedding", self.embedding.token)


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

    def __init__(self, vocab_size: int, block_size: Length, n_embd: Size, n_head: Size, n_layer: Depth) -> None:
        super().__init__(vocab_size, block_size, n_embd, n_head, n_layer)
        self.blocks = nn.Sequential(*(Block(block, self.branch) for block in self.blocks))


class WithoutAttention(WithoutFeedForward):
    """With blocks of a feed-forward layer alone: no position reads another."""

    branch = "feed_forward"
