"""transformer: the encoder-decoder that the ladder comes from. One stack reads; the other writes, and looks at that.

New against v7: attention that looks at another sequence (cross-attention), sinusoidal positions in place of learnt
ones, and a mask over padding, because the sequences of a batch have different lengths.

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

from gpt.kernels import Dropout
from gpt.models.kv_cache import KVCache
from gpt.models.v3_multi_head import check_heads

Norm = Literal["pre", "post"]

PAD = 0  # the token id that fills sequences up to the length of the longest; nothing ever looks at it


def sinusoidal_positions(length: int, n_embd: int) -> Tensor:
    """Section 3.5: sines and cosines of the position, with wavelengths from 2 pi to 10000 * 2 pi: (T, C)."""
    position = torch.arange(length)[:, None]  # (T, 1)
    rate = torch.exp(torch.arange(0, n_embd, 2) * (-math.log(10_000) / n_embd))  # (C / 2,)
    return torch.stack([(position * rate).sin(), (position * rate).cos()], dim=-1).flatten(1)


class Attention(nn.Module):
    """Several heads; the queries come from one sequence, the keys and values from the same or from another."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        check_heads(n_embd, n_head)
        self.n_head = n_head
        self.query = nn.Linear(n_embd, n_embd)
        self.key_value = nn.Linear(n_embd, 2 * n_embd)
        self.projection = nn.Linear(n_embd, n_embd)

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: (B, S, C) -> keys and values: (B, H, S, D) each."""
        B, S, C = x.shape
        k, v = self.key_value(x).view(B, S, 2, self.n_head, C // self.n_head).permute(2, 0, 3, 1, 4)
        return k, v

    def forward(self, x: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """x: (B, T, C), k and v: (B, H, S, D), mask: of (B, H, T, S), true where a key may be seen -> (B, T, C).

        Section 3.2.1, equation 1, written out: on a CPU that is quicker for sentences than PyTorch's fused attention.
        """
        B, T, C = x.shape
        q = self.query(x).view(B, T, self.n_head, C // self.n_head).transpose(1, 2)  # (B, H, T, D)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # (B, H, T, S)
        y = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1) @ v  # (B, H, T, D)
        return self.projection(y.transpose(1, 2).reshape(B, T, C))  # (B, T, C)


class FeedForward(nn.Sequential):
    """Section 3.3: relu(x W1 + b1) W2 + b2, here with a hidden layer of any width: (B, T, C) -> (B, T, C)."""

    def __init__(self, n_embd: int, n_hidden: int) -> None:
        super().__init__(nn.Linear(n_embd, n_hidden), nn.ReLU(), nn.Linear(n_hidden, n_embd))


class Residual(nn.Module):
    """x plus a branch of x, with a LayerNorm in front of the branch ("pre") or behind the sum ("post").

    Dropout is on the branch, as in section 5.4: neither on attention's weights nor inside the feed-forward layer.
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

    def forward(self, x: Tensor, read: "Read", causal: Tensor, layer: int) -> Tensor:
        """x: (B, T, C), causal: (T, S), where S counts what the cache has as well -> (B, T, C)."""
        x = self.residuals[0](x, lambda y: self._look_back(y, read.cache, causal, layer))
        x = self.residuals[1](x, lambda y: self.cross_attention(y, *read.keys_values[layer], read.mask))
        return self.residuals[2](x, self.feed_forward)

    def _look_back(self, y: Tensor, cache: KVCache | None, causal: Tensor, layer: int) -> Tensor:
        k, v = self.attention.keys_values(y)
        if cache is not None:
            k, v = cache.append(layer, k, v)
        return self.attention(y, k, v, causal)


@dataclass
class Read:
    """What the decoder knows: the source as every block's keys and values, and while decoding its own past."""

    keys_values: list[tuple[Tensor, Tensor]]  # of every decoder block: (B, H, S, D) each
    mask: Tensor  # (B, 1, 1, S), true where the source is not padding
    cache: KVCache | None = None


class Transformer(nn.Module):
    """source -> encoder; target so far and what was read -> decoder -> logits of what comes next."""

    def __init__(
        self,
        vocab_size: int,
        block_size: int,
        n_embd: int,
        n_head: int,
        n_layer: int,
        n_hidden: int,
        dropout: float,
        norm: Norm,
        shared_embedding: bool,
    ) -> None:
        super().__init__()
        self.block_size, self.n_head, self.n_embd = block_size, n_head, n_embd
        # Section 3.4: both embeddings and the output can be one matrix, which is then kept once.
        self.source_embedding = nn.Embedding(vocab_size, n_embd)
        self.target_embedding = None if shared_embedding else nn.Embedding(vocab_size, n_embd)
        self.output = None if shared_embedding else nn.Parameter(torch.empty(vocab_size, n_embd))
        self.output_bias = nn.Parameter(torch.zeros(vocab_size))
        size = (n_embd, n_head, n_hidden, dropout, norm)
        self.encoder = nn.ModuleList(EncoderBlock(*size) for _ in range(n_layer))
        self.decoder = nn.ModuleList(DecoderBlock(*size) for _ in range(n_layer))
        is_pre = norm == "pre"  # the residual stream is then not normalised at its end
        self.encoder_norm = nn.LayerNorm(n_embd) if is_pre else nn.Identity()
        self.decoder_norm = nn.LayerNorm(n_embd) if is_pre else nn.Identity()
        self.dropout = Dropout(dropout)
        for name, parameter in self.named_parameters():
            if "embedding" in name:
                nn.init.normal_(parameter, std=n_embd**-0.5)
            elif parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """source: (B, S), target: (B, T) int64 token ids, padded at the end with PAD -> logits: (B, T, V)."""
        return self.decode(target, self.read(source))

    def read(self, source: Tensor) -> Read:
        """source: (B, S) int64 token ids -> what the decoder needs of it."""
        mask = (source != PAD)[:, None, None, :]  # (B, 1, 1, S)
        x = self._embed(self.source_embedding, source)  # (B, S, C)
        for block in self.encoder:
            x = block(x, mask)
        x = self.encoder_norm(x)
        blocks = cast(Iterable[DecoderBlock], self.decoder)
        return Read([block.cross_attention.keys_values(x) for block in blocks], mask)

    def decode(self, target: Tensor, read: Read) -> Tensor:
        """target: (B, T) int64 token ids, behind those that the cache has -> logits: (B, T, V)."""
        start = read.cache.length if read.cache is not None else 0
        T = target.shape[1]
        causal = torch.ones(T, start + T, dtype=torch.bool, device=target.device).tril(start)
        x = self._embed(self.target_embedding or self.source_embedding, target, start)  # (B, T, C)
        for layer, block in enumerate(self.decoder):
            x = block(x, read, causal, layer)
        if read.cache is not None:
            read.cache.length += T
        output = self.source_embedding.weight if self.output is None else self.output  # (V, C)
        return linear(self.decoder_norm(x), output, self.output_bias)

    def new_cache(self, batch_size: int, size: int) -> KVCache:
        """An empty cache for the decoder's own past of up to `size` tokens."""
        weight = self.output_bias
        return KVCache(
            n_layer=len(self.decoder),
            batch_size=batch_size,
            n_head=self.n_head,
            size=size,
            head_size=self.n_embd // self.n_head,
            device=weight.device,
            dtype=weight.dtype,
        )

    def _embed(self, embedding: nn.Embedding, idx: Tensor, start: int = 0) -> Tensor:
        positions = sinusoidal_positions(start + idx.shape[1], self.n_embd)[start:].to(embedding.weight)
        return self.dropout(embedding(idx) * math.sqrt(self.n_embd) + positions)  # (B, T, C)
