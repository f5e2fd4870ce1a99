"""v2: one attention head. Replace each BLANK, then run `python -m exercises v2`.

The idea: docs/course/v2.md. B windows, T positions in each, C channels of a position, D channels of a query.
"""

import torch
from torch import Tensor, nn

from exercises import BLANK
from gpt.models.v2_attention_head import Embedding


class Head(nn.Module):
    """Each position takes a weighted mean of what the positions before it, and itself, have to say."""

    def __init__(self, n_embd: int, head_size: int) -> None:
        super().__init__()
        self.query = nn.Linear(n_embd, head_size, bias=False)  # what am I looking for?
        self.key = nn.Linear(n_embd, head_size, bias=False)  # what do I offer?
        self.value = nn.Linear(n_embd, head_size, bias=False)  # what do I pass on?

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, D)."""
        T = x.shape[1]
        q, k, v = self.query(x), self.key(x), self.value(x)  # (B, T, D) each
        D = q.shape[-1]
        scores = BLANK  # (B, T, T): row t says how well the query of t matches each key
        masked = BLANK  # (B, T, T): no position sees a later one
        weights = BLANK  # (B, T, T): each row adds up to 1
        return BLANK  # (B, T, D): the weighted mean of the values


class GPT(nn.Module):
    """embedding -> attention -> logits; `python -m exercises v2 --train` trains it."""

    def __init__(self, vocab_size: int, block_size: int, n_embd: int, head_size: int) -> None:
        super().__init__()
        self.block_size = block_size
        self.embedding = Embedding(vocab_size, block_size, n_embd)
        self.attention = Head(n_embd, head_size)
        self.lm_head = nn.Linear(head_size, vocab_size)

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) token ids -> logits: (B, T, V)."""
        return self.lm_head(self.attention(self.embedding(idx)))
