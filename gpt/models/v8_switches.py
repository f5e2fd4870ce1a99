"""v8 until format 5, for run folders that name it: `gpt.models.v8_modern.GPT`, with a switch for each of its ideas.

`GPT` is the network alone, `WithCounts` the network with n-gram counts. New runs choose v8 or v9 instead. Each switch
has the name of its idea; v8_modern.py, v9_counts.py and the classes below describe them. One was not used in any
record: `bigram`, a vector for the current and the previous token together ("Byte Latent Transformer", Pagnoni et al.,
2024, section 3.2.1, for n = 2).
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, relu, rms_norm

from gpt.base.choices import Count, Depth, Fraction, Length, NonNegative, Size
from gpt.models.attention import Dropout, causal_attention
from gpt.models.kv_cache import Cached, position_vectors, previous
from gpt.models.ngrams import NGramOrder, NGrams, Remembering, TokenIds, Trust
from gpt.models.rotary import Rotation
from gpt.models.v3_attention_heads import check_heads


class Norm(nn.Module):
    """Each token's channels divided by their root mean square or, without `rms`, by their deviation from the mean."""

    def __init__(self, rms: bool) -> None:
        super().__init__()
        self.rms = rms

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., C) -> (..., C)."""
        return (rms_norm if self.rms else layer_norm)(x, x.shape[-1:])


class Embedding(nn.Module):
    """A vector per token, one per pair of neighbouring tokens and, without rotary positions, one per position."""

    def __init__(self, vocab_size: int, n_positions: int, n_embd: int, *, rotary: bool, bigram: bool) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.token = nn.Embedding(vocab_size, n_embd)
        self.bigram = nn.Embedding((vocab_size + 1) * vocab_size, n_embd) if bigram else None
        self.position = None if rotary else nn.Embedding(n_positions, n_embd)

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) token ids -> (B, T, C)."""
        x = self.token(idx)  # (B, T, C)
        if self.bigram is not None:
            before = previous(idx[..., None] + 1)[..., 0]  # (B, T), 0 before the first token
            x = x + self.bigram(before * self.vocab_size + idx)
        if self.position is not None:
            x = x + position_vectors(self.position, idx.shape[1])
        return x


class TokenShift(nn.Module):
    """A mixture of each token and the one before it, learned for each channel; at first, the token alone."""

    def __init__(self, n_embd: int) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.zeros(n_embd))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        return torch.lerp(x, previous(x), self.share.to(x.dtype))


class Attention(nn.Module):
    """Causal self-attention."""

    def __init__(self, n_embd: int, n_head: int, qk_norm: Norm | None) -> None:
        super().__init__()
        self.n_head, self.qk_norm = n_head, qk_norm
        self.qkv = nn.Linear(n_embd, 3 * n_embd, bias=False)
        self.projection = nn.Linear(n_embd, n_embd, bias=False)

    def forward(self, x: Tensor, rotation: Rotation | None) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        qkv = self.qkv(x).unflatten(-1, (3, self.n_head, -1)).permute(2, 0, 3, 1, 4)  # (3, B, H, T, D)
        qk, v = qkv[:2], qkv[2]
        if self.qk_norm is not None:
            qk = self.qk_norm(qk)
        if rotation is not None:
            qk = rotation(qk)
        y = causal_attention(qk[0], qk[1], v)  # (B, H, T, D)
        return self.projection(y.transpose(1, 2).flatten(-2))


class FeedForward(nn.Module):
    """relu(x W1)^2 W2 with a hidden layer of 4C."""

    def __init__(self, n_embd: int, squared: bool) -> None:
        super().__init__()
        self.squared = squared
        self.hidden = nn.Linear(n_embd, 4 * n_embd, bias=False)
        self.projection = nn.Linear(4 * n_embd, n_embd, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        h = relu(self.hidden(x))
        return self.projection(h.square() if self.squared else h)


class Block(nn.Module):
    """Attention, then feed-forward."""

    def __init__(  # noqa: PLR0913  # a switch for each idea
        self,
        n_embd: int,
        n_head: int,
        dropout: float,
        *,
        rms_norm: bool,
        qk_norm: bool,
        squared_relu: bool,
        zero_init: bool,
        embedding_mix: bool,
        token_shift: bool,
    ) -> None:
        super().__init__()
        self.norm = Norm(rms_norm)
        self.mix = nn.Parameter(torch.tensor([1.0, 0.0])) if embedding_mix else None
        self.attention_shift = TokenShift(n_embd) if token_shift else nn.Identity()
        self.attention = Attention(n_embd, n_head, Norm(rms_norm) if qk_norm else None)
        self.feed_forward_shift = TokenShift(n_embd) if token_shift else nn.Identity()
        self.feed_forward = FeedForward(n_embd, squared_relu)
        self.dropout = Dropout(dropout)
        if zero_init:
            for branch in (self.attention, self.feed_forward):
                nn.init.zeros_(branch.projection.weight)

    def forward(self, x: Tensor, embedding: Tensor, rotation: Rotation | None) -> Tensor:
        """x, embedding: (B, T, C) each -> (B, T, C)."""
        if self.mix is not None:
            x = self.mix[0] * x + self.mix[1] * embedding
        x = x + self.dropout(self.attention(self.attention_shift(self.norm(x)), rotation))  # (B, T, C)
        return x + self.dropout(self.feed_forward(self.feed_forward_shift(self.norm(x))))  # (B, T, C)


class GPT(Cached):
    """embedding -> L blocks -> logits."""

    def __init__(  # noqa: PLR0913  # what old run folders name
        self,
        vocab_size: int,
        block_size: Length,
        n_embd: Size,
        n_head: Size,
        n_layer: Depth,
        dropout: Fraction,
        rotary: bool,
        rms_norm: bool,
        qk_norm: bool,
        squared_relu: bool,
        zero_init: bool,
        soft_cap: NonNegative,
        embedding_mix: bool,
        bigram: bool,
        token_shift: bool,
    ) -> None:
        super().__init__()
        check_heads(n_embd, n_head)
        if rotary and n_embd // n_head % 2:
            raise ValueError(f"rotary needs an even head size, not n_embd={n_embd} / n_head={n_head}")
        self.block_size, self.soft_cap = block_size, soft_cap
        self.head_size, self.slides = n_embd // n_head, rotary  # rotated, scores depend on distances alone
        self.embedding = Embedding(vocab_size, block_size, n_embd, rotary=rotary, bigram=bigram)
        self.norm = Norm(rms_norm)
        self.blocks = nn.ModuleList(
            Block(
                n_embd, n_head, dropout, rms_norm=rms_norm, qk_norm=qk_norm, squared_relu=squared_relu,
                zero_init=zero_init, embedding_mix=embedding_mix, token_shift=token_shift,
            )
            for _ in range(n_layer)
        )  # fmt: skip
        self.lm_head = nn.Linear(n_embd, vocab_size)
        if zero_init:
            nn.init.zeros_(self.lm_head.weight)

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) int64 token ids, T <= block_size -> logits: (B, T, V)."""
        return self.logits(self.body(self.embedding(idx)))

    def body(self, x: Tensor) -> Tensor:
        """The blocks and the norms around them: (B, T, C) -> (B, T, C)."""
        rotation = Rotation(x.shape[1], self.head_size, x.device) if self.slides else None
        x = embedding = self.norm(x)
        for block in self.blocks:
            x = block(x, embedding, rotation)  # (B, T, C)
        return self.norm(x)

    def logits(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, V)."""
        logits = self.lm_head(x)
        return self.soft_cap * torch.tanh(logits / self.soft_cap) if self.soft_cap else logits


class WithCounts(GPT, Remembering):
    """The network reads what n-gram counts predict, and adds its logits to theirs."""

    def __init__(  # noqa: PLR0913  # what old run folders name
        self,
        vocab_size: int,
        block_size: Length,
        n_embd: Size,
        n_head: Size,
        n_layer: Depth,
        dropout: Fraction,
        rotary: bool,
        rms_norm: bool,
        qk_norm: bool,
        squared_relu: bool,
        zero_init: bool,
        soft_cap: NonNegative,
        embedding_mix: bool,
        bigram: bool,
        token_shift: bool,
        ngrams: NGramOrder,
        memory: Count,
    ) -> None:
        super().__init__(
            vocab_size, block_size, n_embd, n_head, n_layer, dropout, rotary, rms_norm, qk_norm, squared_relu,
            zero_init, soft_cap, embedding_mix, bigram, token_shift,
        )  # fmt: skip
        self.ngrams = NGrams(vocab_size, ngrams, block_size, memory)
        self.expected = nn.Linear(ngrams * vocab_size, n_embd, bias=False)
        self.trust = Trust(n_embd, ngrams)

    def forward(self, idx: Tensor, start: Tensor | None = None) -> Tensor:
        """idx: (B, T) int64 token ids, T <= block_size -> logits: (B, T, V); `start` as in `Remembering`."""
        x = self.embedding(idx)  # (B, T, C)
        p, counted = self.ngrams(idx, start)  # (B, T, order, V), (B, T, order)
        x = self.body(x + self.expected(p.flatten(-2).to(x.dtype)))  # (B, T, C)
        return self.logits(x) + (self.trust(x, counted)[..., None] * p.log()).sum(dim=-2)

    def remember(self, ids: TokenIds) -> None:
        """Remember the training split, (N,) token ids."""
        self.ngrams.remember(ids)
