"""transformer: the encoder-decoder. The encoder reads the source; the decoder continues the target and attends to both.

New compared with v7: attention to another sequence (cross-attention), sinusoidal positions instead of learned ones,
and a mask over padding, because the sequences of a batch have different lengths.

Source: "Attention Is All You Need" (Vaswani et al., 2017), section 3; pre-norm as in "On Layer Normalization in the
Transformer Architecture" (Xiong et al., 2020).
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from gpt.config.choices import Depth, Fraction, Length, Size
from gpt.models.attention import Dropout
from gpt.models.kv_cache import KVCache
from gpt.models.v3_attention_heads import check_heads

Norm = Literal["pre", "post"]


def sinusoidal_positions(length: int, n_embd: int) -> Tensor:
    """Section 3.5: sines and cosines of the position, with wavelengths from 2 pi to 10000 * 2 pi: (T, C)."""
    position = torch.arange(length)[:, None]  # (T, 1)
    rate = torch.exp(torch.arange(0, n_embd, 2) * (-math.log(10_000) / n_embd))  # (C / 2,), rounded up
    return torch.stack([(position * rate).sin(), (position * rate).cos()], dim=-1).flatten(1)[:, :n_embd]


class Attention(nn.Module):
    """Multi-head attention; the queries come from one sequence, the keys and values from the same one or another."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        check_heads(n_embd, n_head)
        self.n_head = n_head
        self.query = nn.Linear(n_embd, n_embd)
        self.key_value = nn.Linear(n_embd, 2 * n_embd)
        self.projection = nn.Linear(n_embd, n_embd)

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: (B, S, C) -> keys and values: (B, H, S, D) each."""
        k, v = self.key_value(x).unflatten(-1, (2, self.n_head, -1)).permute(2, 0, 3, 1, 4)
        return k, v

    def forward(self, x: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """x: (B, T, C), k and v: (B, H, S, D) -> (B, T, C); mask: true where visible, broadcast to (B, H, T, S).

        Section 3.2.1, equation 1, written out: on a CPU this is faster for sentences than PyTorch's fused attention.
        """
        q = self.query(x).unflatten(-1, (self.n_head, -1)).transpose(1, 2)  # (B, H, T, D)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # (B, H, T, S)
        y = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1) @ v  # (B, H, T, D)
        return self.projection(y.transpose(1, 2).flatten(-2))  # (B, T, C)


class FeedForward(nn.Sequential):
    """Section 3.3: relu(x W1 + b1) W2 + b2, with a hidden layer of any width: (B, T, C) -> (B, T, C)."""

    def __init__(self, n_embd: int, n_hidden: int) -> None:
        super().__init__(nn.Linear(n_embd, n_hidden), nn.ReLU(), nn.Linear(n_hidden, n_embd))


class Residual(nn.Module):
    """x plus a branch of x, with a LayerNorm before the branch ("pre") or after the sum ("post").

    Dropout is applied to the output of the branch only, as in section 5.4, not to the attention weights or inside the
    feed-forward layer.
    """

    def __init__(self, n_embd: int, dropout: float, norm: Norm) -> None:
        super().__init__()
        self.norm, self.dropout, self.is_pre = nn.LayerNorm(n_embd), Dropout(dropout), norm == "pre"

    def forward(self, x: Tensor, branch: Callable[[Tensor], Tensor]) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        return x + self.dropout(branch(self.norm(x))) if self.is_pre else self.norm(x + self.dropout(branch(x)))


class EncoderBlock(nn.Module):
    """Self-attention over the source, then feed-forward."""

    def __init__(self, n_embd: int, n_head: int, n_hidden: int, dropout: float, norm: Norm) -> None:
        super().__init__()
        self.attention = Attention(n_embd, n_head)
        self.feed_forward = FeedForward(n_embd, n_hidden)
        self.residuals = nn.ModuleList(Residual(n_embd, dropout, norm) for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: (B, S, C), mask: (B, 1, 1, S) -> (B, S, C)."""
        x = self.residuals[0](x, lambda y: self.attention(y, *self.attention.keys_values(y), mask))
        return self.residuals[1](x, self.feed_forward)


class DecoderBlock(nn.Module):
    """Causal self-attention over the target, attention to the source, then feed-forward."""

    def __init__(self, n_embd: int, n_head: int, n_hidden: int, dropout: float, norm: Norm) -> None:
        super().__init__()
        self.attention = Attention(n_embd, n_head)
        self.cross_attention = Attention(n_embd, n_head)
        self.feed_forward = FeedForward(n_embd, n_hidden)
        self.residuals = nn.ModuleList(Residual(n_embd, dropout, norm) for _ in range(3))

    def forward(self, x: Tensor, encoded: "EncoderOutput", causal: Tensor, layer: int) -> Tensor:
        """x: (B, T, C), causal: (T, cached + T) -> (B, T, C)."""
        x = self.residuals[0](x, lambda y: self._self_attention(y, encoded.cache, causal, layer))
        x = self.residuals[1](x, lambda y: self.cross_attention(y, *encoded.keys_values[layer], encoded.mask))
        return self.residuals[2](x, self.feed_forward)

    def _self_attention(self, y: Tensor, cache: KVCache | None, causal: Tensor, layer: int) -> Tensor:
        k, v = self.attention.keys_values(y)
        if cache is not None:
            k, v = cache.append(layer, k, v)
        return self.attention(y, k, v, causal)


@dataclass
class EncoderOutput:
    """The decoder's memory: keys and values of the source and, with a cache, of the target tokens so far."""

    keys_values: list[tuple[Tensor, Tensor]]  # one pair per decoder block: (B, H, S, D) each
    mask: Tensor  # (B, 1, 1, S), true where the source is not padding
    cache: KVCache | None = None


class Transformer(nn.Module):
    """source -> encoder -> decoder, which also reads the target so far -> logits of the next target token."""

    def __init__(  # noqa: PLR0913  # the schema of conf/model/transformer.yaml
        self,
        vocab_size: int,
        block_size: Length,
        n_embd: Size,
        n_head: Size,
        n_layer: Depth,
        n_hidden: Size,
        dropout: Fraction,
        norm: Norm,
        shared_embedding: bool,
        padding_idx: int = 0,
    ) -> None:
        super().__init__()
        self.block_size, self.n_embd, self.padding_idx = block_size, n_embd, padding_idx
        # Section 3.4: both embeddings and the output layer can share one matrix.
        self.source_embedding = nn.Embedding(vocab_size, n_embd)
        self.target_embedding = None if shared_embedding else nn.Embedding(vocab_size, n_embd)
        self.output = None if shared_embedding else nn.Parameter(torch.empty(vocab_size, n_embd))
        self.output_bias = nn.Parameter(torch.zeros(vocab_size))
        size = (n_embd, n_head, n_hidden, dropout, norm)
        self.encoder = nn.ModuleList(EncoderBlock(*size) for _ in range(n_layer))
        self.decoder = nn.ModuleList(DecoderBlock(*size) for _ in range(n_layer))
        is_pre = norm == "pre"  # pre-norm blocks leave their output unnormalised
        self.encoder_norm = nn.LayerNorm(n_embd) if is_pre else nn.Identity()
        self.decoder_norm = nn.LayerNorm(n_embd) if is_pre else nn.Identity()
        self.dropout = Dropout(dropout)
        for name, parameter in self.named_parameters():
            if "embedding" in name:
                nn.init.normal_(parameter, std=n_embd**-0.5)
            elif parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """source: (B, S), target: (B, T) int64 token ids, padded at the end -> logits: (B, T, V)."""
        return self.decode(target, self.encode(source))

    def encode(self, source: Tensor) -> EncoderOutput:
        """source: (B, S) int64 token ids, padded at the end -> keys and values for the decoder."""
        mask = (source != self.padding_idx)[:, None, None, :]  # (B, 1, 1, S)
        x = self._embed(self.source_embedding, source)  # (B, S, C)
        for block in self.encoder:
            x = block(x, mask)
        x = self.encoder_norm(x)
        blocks = cast(Iterable[DecoderBlock], self.decoder)
        return EncoderOutput([block.cross_attention.keys_values(x) for block in blocks], mask)

    def decode(self, target: Tensor, encoded: EncoderOutput) -> Tensor:
        """target: (B, T) int64 token ids; with a cache, only the new ones -> logits: (B, T, V)."""
        start = encoded.cache.length if encoded.cache is not None else 0
        T = target.shape[1]
        causal = torch.ones(T, start + T, dtype=torch.bool, device=target.device).tril(start)
        x = self._embed(self.target_embedding or self.source_embedding, target, start)  # (B, T, C)
        for layer, block in enumerate(self.decoder):
            x = block(x, encoded, causal, layer)
        if encoded.cache is not None:
            encoded.cache.length += T
        output = self.source_embedding.weight if self.output is None else self.output  # (V, C)
        return linear(self.decoder_norm(x), output, self.output_bias)

    def _embed(self, embedding: nn.Embedding, idx: Tensor, start: int = 0) -> Tensor:
        positions = sinusoidal_positions(start + idx.shape[1], self.n_embd)[start:].to(embedding.weight)
        return self.dropout(embedding(idx) * math.sqrt(self.n_embd) + positions)  # (B, T, C)
