"""v9: v8 with n-gram counts, a table of what followed the last few tokens in the training text.

The network reads the predictions of the counts for contexts of 1 .. `ngrams` tokens (gpt/models/ngrams.py). It adds its
logits to them, weighted for each token. Counts are known before the first update, so they shorten the training from
minutes to seconds.

The number of parameters does not include their cost. The weights contain the training text itself (the buffer
`ngrams.memory`): anyone who has the model has the text. Loading the model counts the text: a table of 119 MB for
contexts of up to six characters of tiny Shakespeare, and another of 299 MB in training.
docs/lab/records.md has the losses of the counts alone, the network alone and both.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from gpt.config.choices import Count, Depth, Fraction, Length, Size
from gpt.models import Remembering, TokenIds, v8_modern
from gpt.models.ngrams import NGramOrder, NGrams


class GPT(v8_modern.GPT, Remembering):
    """embedding and the counts' predictions -> L blocks -> the network's logits plus the counts'."""

    def __init__(
        self,
        vocab_size: int,
        block_size: Length,
        n_embd: Size,
        n_head: Size,
        n_layer: Depth,
        dropout: Fraction,
        ngrams: NGramOrder,
        memory: Count,
    ) -> None:
        super().__init__(vocab_size, block_size, n_embd, n_head, n_layer, dropout)
        self.ngrams = NGrams(vocab_size, ngrams, block_size, memory)
        self.expected = nn.Linear(ngrams * vocab_size, n_embd, bias=False)
        self.trust = Trust(n_embd, ngrams)
        nn.init.zeros_(self.lm_head.weight)  # The counts alone decide at first.
        nn.init.zeros_(self.lm_head.bias)

    def forward(self, idx: Tensor, start: Tensor | None = None) -> Tensor:
        """idx: (B, T) int64 token ids, T <= block_size -> logits: (B, T, V); `start`: see `Remembering`."""
        p, counted = self.ngrams(idx, start)  # (B, T, order, V), (B, T, order)
        x = self.embedding(idx)  # (B, T, C)
        x = self.blocks(x + self.expected(p.flatten(-2).to(x.dtype)))  # (B, T, C)
        x = self.norm(x)  # (B, T, C)
        return self.lm_head(x) + (self.trust(x, counted)[..., None] * p.log()).sum(dim=-2)  # (B, T, V)

    def remember(self, ids: TokenIds) -> None:
        """Remember the training split, (N,) token ids."""
        self.ngrams.remember(ids)


class Trust(nn.Module):
    """The weight of the counts of each order, computed from the network's state and the number of occurrences."""

    def __init__(self, n_embd: int, order: int, hidden: int = 32) -> None:
        super().__init__()
        self.hidden = nn.Linear(n_embd + order, hidden)
        self.weights = nn.Linear(hidden, order)
        nn.init.zeros_(self.weights.weight)
        nn.init.constant_(self.weights.bias, 1 / order)

    def forward(self, x: Tensor, counted: Tensor) -> Tensor:
        """x: (B, T, C), counted: (B, T, order) -> the weight of each order: (B, T, order)."""
        evidence = 0.3 * counted.log1p()  # about as large as the normalised x
        return self.weights(relu(self.hidden(torch.cat([x, evidence.to(x.dtype)], dim=-1))).square())
