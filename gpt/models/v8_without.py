"""v8 without one of its ideas, for comparison: a class per idea. benchmarks/ablation.py trains them."""

from typing import Any

from torch import Tensor, nn

from gpt.base.choices import Depth, Fraction, Length, Size
from gpt.models import v8_modern
from gpt.models.kv_cache import Embedding


class _Without(v8_modern.GPT):
    """v8 with each block changed after construction."""

    def __init__(
        self, vocab_size: int, block_size: Length, n_embd: Size, n_head: Size, n_layer: Depth, dropout: Fraction
    ) -> None:
        super().__init__(vocab_size, block_size, n_embd, n_head, n_layer, dropout)
        for module in self.modules():
            if isinstance(module, v8_modern.Block):
                self.change(module)

    def change(self, block: Any) -> None:
        """Remove the idea from a block."""


class Rotary(v8_modern.GPT):
    """Learned positions, as in v7, instead of rotary ones."""

    slides = False

    def __init__(
        self, vocab_size: int, block_size: Length, n_embd: Size, n_head: Size, n_layer: Depth, dropout: Fraction
    ) -> None:
        super().__init__(vocab_size, block_size, n_embd, n_head, n_layer, dropout)
        self.embedding = Embedding(vocab_size, block_size, n_embd)

    def body(self, x: Tensor) -> Tensor:
        """The blocks, with a norm before and after them: (B, T, C) -> (B, T, C)."""
        x = self.norm(x)
        for block in self.blocks:
            x = block(x, lambda qk: qk)  # (B, T, C)
        return self.norm(x)


class TokenShift(_Without):
    """Branches that read each token by itself."""

    def change(self, block: Any) -> None:
        """No mixture."""
        block.attention_shift = block.feed_forward_shift = nn.Identity()


class RMSNorm(_Without):
    """LayerNorm without gains instead of RMSNorm."""

    def change(self, block: Any) -> None:
        """Subtract the mean too, here and before and after the blocks."""
        C, D = block.norm.normalized_shape, block.attention.norm.normalized_shape
        block.norm, block.attention.norm = (nn.LayerNorm(size, elementwise_affine=False) for size in (C, D))
        self.add_module("norm", block.norm)


class QKNorm(_Without):
    """Queries and keys that are not normalised."""

    def change(self, block: Any) -> None:
        """No norm in attention."""
        block.attention.norm = nn.Identity()


class SquaredReLU(_Without):
    """With relu(x)."""

    def change(self, block: Any) -> None:
        """The activation of v7."""
        block.feed_forward[1] = nn.ReLU()


class ZeroInit(_Without):
    """PyTorch's default initialisation of every layer."""

    def change(self, block: Any) -> None:
        """Randomly initialise what is zero in v8."""
        for layer in (block.attention.projection, block.feed_forward[2], self.lm_head):
            layer.reset_parameters()


class SoftCap(v8_modern.GPT):
    """Logits without a soft cap."""

    def logits(self, x: Tensor) -> Tensor:
        """The output layer: (B, T, C) -> (B, T, V)."""
        return self.lm_head(x)
