"""v7: dropout, and with it scale. Larger models learn the corpus by heart; dropout keeps them from it.

A window of 256 characters also makes generation worth a key-value cache, so this stage can be decoded with one.

Source: "Dropout: A Simple Way to Prevent Neural Networks from Overfitting" (Srivastava et al., 2014), section 4;
its three places (attention weights, and the end of either branch) are GPT-2's.
"""

from torch import Tensor, nn

from gpt.kernels import Dropout, attention
from gpt.models.kv_cache import KVCache
from gpt.models.v2_single_head import Embedding
from gpt.models.v3_multi_head import check_heads


class Attention(nn.Module):
    """v5's projected attention with dropout on the attention weights and on the output."""

    def __init__(self, n_embd: int, n_head: int, dropout: float) -> None:
        super().__init__()
        check_heads(n_embd, n_head)
        self.n_head = n_head
        self.qkv = nn.Linear(n_embd, 3 * n_embd, bias=False)
        self.projection = nn.Linear(n_embd, n_embd)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, cache: KVCache | None = None, layer: int = 0) -> Tensor:
        """x: (B, T, C) -> (B, T, C); with a cache, x also attends to what the cache's `layer` holds."""
        B, T, C = x.shape
        qkv = self.qkv(x).view(B, T, 3, self.n_head, C // self.n_head)  # (B, T, 3, H, D)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, H, T, D) each
        if cache is not None:
            k, v = cache.append(layer, k, v)  # (B, H, cached + T, D) each
        y = attention(q, k, v, causal=T > 1, dropout=self.dropout)  # (B, H, T, D)
        y = y.transpose(1, 2).reshape(B, T, C)  # (B, T, C)
        return self.dropout(self.projection(y))  # (B, T, C)


class FeedForward(nn.Sequential):
    """v5's feed-forward layer with dropout on the output: (B, T, C) -> (B, T, C)."""

    def __init__(self, n_embd: int, dropout: float) -> None:
        super().__init__(nn.Linear(n_embd, 4 * n_embd), nn.ReLU(), nn.Linear(4 * n_embd, n_embd), Dropout(dropout))


class Block(nn.Module):
    """v6's block with dropout in both branches."""

    def __init__(self, n_embd: int, n_head: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(n_embd)
        self.attention = Attention(n_embd, n_head, dropout)
        self.feed_forward_norm = nn.LayerNorm(n_embd)
        self.feed_forward = FeedForward(n_embd, dropout)

    def forward(self, x: Tensor, cache: KVCache | None = None, layer: int = 0) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        x = x + self.attention(self.attention_norm(x), cache, layer)  # (B, T, C)
        return x + self.feed_forward(self.feed_forward_norm(x))  # (B, T, C)


class DropoutModel(nn.Module):
    """embedding -> L pre-norm blocks with dropout -> LayerNorm -> logits."""

    def __init__(
        self, vocab_size: int, block_size: int, n_embd: int, n_head: int, n_layer: int, dropout: float
    ) -> None:
        super().__init__()
        self.block_size = block_size
        self.n_head = n_head
        self.embedding = Embedding(vocab_size, block_size, n_embd)
        self.blocks = nn.ModuleList(Block(n_embd, n_head, dropout) for _ in range(n_layer))
        self.norm = nn.LayerNorm(n_embd)
        self.lm_head = nn.Linear(n_embd, vocab_size)

    def forward(self, idx: Tensor, cache: KVCache | None = None) -> Tensor:
        """idx: (B, T) int64 token ids, cached tokens + T <= block_size -> logits: (B, T, V)."""
        x = self.embedding(idx, start=0 if cache is None else cache.length)  # (B, T, C)
        for layer, block in enumerate(self.blocks):
            x = block(x, cache, layer)  # (B, T, C)
        if cache is not None:
            cache.length += idx.shape[1]
        return self.lm_head(self.norm(x))  # (B, T, V)

    def new_cache(self, batch_size: int) -> KVCache:
        """An empty cache for `batch_size` sequences of up to block_size tokens."""
        weight = self.embedding.token.weight
        return KVCache(
            n_layer=len(self.blocks),
            batch_size=batch_size,
            n_head=self.n_head,
            size=self.block_size,
            head_size=weight.shape[1] // self.n_head,
            device=weight.device,
            dtype=weight.dtype,
        )
