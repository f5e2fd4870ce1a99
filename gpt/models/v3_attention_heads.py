"""v3: several attention heads. Each head learns its own attention pattern; their outputs are concatenated.

Source: "Attention Is All You Need" (Vaswani et al., 2017), section 3.2.2, without the output projection
(that comes with v5).
"""

from torch import Tensor, nn

from gpt.config.choices import Length, Size
from gpt.models.attention import causal_attention
from gpt.models.v2_attention_head import Embedding


def check_heads(n_embd: int, n_head: int) -> None:
    """Raise ValueError unless the channels can be split evenly among the heads."""
    if n_embd % n_head:
        raise ValueError(f"n_embd={n_embd} must be a multiple of n_head={n_head}")


class MultiHeadAttention(nn.Module):
    """H heads of size D = C / H side by side: v2's formula, computed for all heads at once.

    One matrix product gives the queries, keys and values of all heads, and `causal_attention` is what `Head.forward`
    of v2 spells out: scale, mask, softmax, weighted sum.
    """

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        check_heads(n_embd, n_head)
        self.n_head = n_head
        self.qkv = nn.Linear(n_embd, 3 * n_embd, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C), the heads' outputs concatenated."""
        qkv = self.qkv(x).unflatten(-1, (3, self.n_head, -1))  # (B, T, 3, H, D)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, H, T, D) each
        y = self.attend(q, k, v)  # (B, H, T, D)
        return y.transpose(1, 2).flatten(-2)  # (B, T, C)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of each head: q, k and v, (B, H, T, D) each -> (B, H, T, D)."""
        return causal_attention(q, k, v)


class GPT(nn.Module):
    """embedding -> attention -> logits."""

    def __init__(self, vocab_size: int, block_size: Length, n_embd: Size, n_head: Size) -> None:
        super().__init__()
        self.block_size = block_size
        self.embedding = Embedding(vocab_size, block_size, n_embd)
        self.attention = MultiHeadAttention(n_embd, n_head)
        self.lm_head = nn.Linear(n_embd, vocab_size)

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) int64 token ids, T <= block_size -> logits: (B, T, V)."""
        x = self.embedding(idx)  # (B, T, C)
        x = self.attention(x)  # (B, T, C)
        return self.lm_head(x)  # (B, T, V)
