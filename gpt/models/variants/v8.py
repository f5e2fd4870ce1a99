"""Variants of v8 without one of its ideas, or with one more. docs/lab/records.md has what each is worth."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm

from gpt.models import v5_residual, v8_modern
from gpt.models.kv_cache import CachedEmbedding
from gpt.models.variants import signature_of

_SOFT_CAP = 15.0


class _Twin(v8_modern.GPT):
    """v8, with each block changed after construction."""

    @signature_of(v8_modern.GPT.__init__)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for block in self.blocks:
            self.change(block)

    def change(self, block: Any) -> None:
        """Turn a block of v8 into one of the variant."""


class WithoutRotary(_Twin):
    """With learned positions, as in v7."""

    slides = False

    @signature_of(v8_modern.GPT.__init__)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        tokens = self.embedding
        self.add_module("embedding", CachedEmbedding(tokens.num_embeddings, self.block_size, tokens.embedding_dim))

    def change(self, block: Any) -> None:
        """The attention of v5 to v7, without dropout."""
        block.attention = v5_residual.MultiHeadAttention(*_size(block))


class WithoutTokenShift(_Twin):
    """With branches that read each token by itself, as in v7."""

    def change(self, block: Any) -> None:
        """No mixture."""
        block.attention_shift = block.feed_forward_shift = nn.Identity()


class WithoutSquaredReLU(_Twin):
    """With relu(x), as in v7."""

    def change(self, block: Any) -> None:
        """The activation of v7."""
        block.feed_forward[1] = nn.ReLU()


class NormalisedAttention(v8_modern.MultiHeadAttention):
    """Attention between queries and keys that are normalised to the same length."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """What each head reads: (B, H, T, D) each -> (B, H, T, D)."""
        return super().attend(rms_norm(q, q.shape[-1:]), rms_norm(k, k.shape[-1:]), v)


class WithQKNorm(_Twin):
    """With normalised queries and keys, which bounds the scores ("Query-Key Normalization", Henry et al., 2020, 3)."""

    def change(self, block: Any) -> None:
        """Normalise before rotating."""
        block.attention = NormalisedAttention(*_size(block))


class WithRMSNorm(_Twin):
    """With division by the root mean square instead of LayerNorm (Zhang and Sennrich, 2019, section 4)."""

    def change(self, block: Any) -> None:
        """In both branches, and before the output layer."""
        for parent, name in ((block, "attention_norm"), (block, "feed_forward_norm"), (self, "norm")):
            setattr(parent, name, nn.RMSNorm(_size(block)[0]))


class WithZeroInit(_Twin):
    """With blocks that begin as the identity, and equal logits ("ReZero", Bachlechner et al., 2020, section 3)."""

    def change(self, block: Any) -> None:
        """Zero the last layer of each branch and the output layer."""
        for layer in (block.attention.projection, block.feed_forward[2], self.lm_head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)


class WithSoftCap(v8_modern.GPT):
    """With logits squashed into (-15, 15) ("Gemma 2", 2024, section 2)."""

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) int64 token ids, T <= block_size -> logits: (B, T, V)."""
        return _SOFT_CAP * torch.tanh(super().forward(idx) / _SOFT_CAP)


def _size(block: Any) -> tuple[int, int]:
    """The n_embd and n_head of a block."""
    return block.attention.qkv.in_features, block.attention.n_head
