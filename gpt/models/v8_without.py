"""v8 without one of its ideas, to compare with: a class for each. benchmarks/ablation.py trains them."""

from typing import Any

from torch import Tensor, nn

from gpt.base.choices import Depth, Fraction, Length, Size
from gpt.models import v8_modern
from gpt.models.kv_cache import Embedding


class _Without(v8_modern.GPT):
    """v8, changed block by block after it was built."""

    def __init__(
        self, vocab_size: int, block_size: Length, n_embd: Size, n_head: Size, n_layer: Depth, dropout: Fraction
    ) -> None:
        super().__init__(vocab_size, block_size, n_embd, n_head, n_layer, dropout)
        for module in self.modules():
            if isinstance(module, v8_modern.Block):
                self.change(module)

    def change(self, block: Any) -> None:
        """Leave the idea out of a block."""


class Rotary(v8_modern.GPT):
    """With learned positions, as in v7, instead of rotary ones."""

    slides = False

    def __init__(
        self, vocab_size: int, block_size: Length, n_embd: Size, n_head: Size, n_layer: Depth, dropout: Fraction
    ) -> None:
        super().__init__(vocab_size, block_size, n_embd, n_head, n_layer, dropout)
        self.embedding = Embedding(vocab_size, block_size, n_embd)

    def body(self, x: Tensor) -> Tensor:
        """The blocks between normalised ends: (B, T, C) -> (B, T, C)."""
        x = self.norm(x)
        for block in self.blocks:
            x = block(x, lambda qk: qk)  # (B, T, C)
        return self.norm(x)


class TokenShift(_Without):
    """With branches that read each token by itself."""

    def change(self, block: Any) -> None:
        """No mixture."""
        block.attention_shift = block.feed_forward_shift = nn.Identity()


class RMSNorm(_Without):
    """With LayerNorm, also without gains."""

    def change(self, block: Any) -> None:
        """The mean is subtracted too, here and at both ends."""
        C, D = block.norm.normalized_shape, block.attention.norm.normalized_shape
        block.norm, block.attention.norm = (nn.LayerNorm(size, elementwise_affine=False) for size in (C, D))
        self.add_module("norm", block.norm)


class QKNorm(_Without):
    """With queries and keys of any length."""

    def change(self, block: Any) -> None:
        """No norm in attention."""
        block.attention.norm = nn.Identity()


class SquaredReLU(_Without):
    """With relu(x)."""

    def change(self, block: Any) -> None:
        """The activation of v7."""
        block.feed_forward[1] = nn.ReLU()


class ZeroInit(_Without):
    """With PyTorch's initialisation of every layer."""

    def change(self, block: Any) -> None:
        """Draw what is zero in v8."""
        for layer in (block.attention.projection, block.feed_forward[2], self.lm_head):
            layer.reset_parameters()


class SoftCap(v8_modern.GPT):
    """With logits of any size."""

    def logits(self, x: Tensor) -> Tensor:
        """The output layer: (B, T, C) -> (B, T, V)."""
        return self.lm_head(x)
