"""What followed the last few tokens in the training text, as probabilities: an expert that v8 consults.

This is the oldest kind of language model. Alone it is far worse than a network, but it knows from the first iteration
on what a network takes long to learn, and remembers rare words.

Sources: "On Structuring Probabilistic Dependences in Stochastic Language Modelling" (Ney et al., 1994), section 4, for
absolute discounting with interpolation; "Infini-gram" (Liu et al., 2024), section 5, for adding counts to a network.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

_DISCOUNT = 0.85  # taken from each count and given to the tokens that fewer tokens of context predict
_PARTS = 10


class NGrams(nn.Module):
    """The probabilities of the next token after the last 1, 2, ... `order` tokens, counted in a remembered text.

    In training, a window's own surroundings do not count: the remembered text is cut into ten parts, and what is
    counted in the part that a token is in is left out. Otherwise a text would predict itself, and the network would
    learn to trust counts more than they deserve on any other text.
    """

    memory: Tensor

    def __init__(self, vocab_size: int, order: int, size: int) -> None:
        super().__init__()
        self.vocab_size, self.order = vocab_size, order
        # All of the state, -1 where there is no token. Counting again takes a few seconds.
        dtype = torch.int16 if vocab_size < 2**15 else torch.int32
        self.register_buffer("memory", torch.full((size,), -1, dtype=dtype))
        self._tables: list[_Table] = []
        self.register_load_state_dict_post_hook(lambda module, _: cast(NGrams, module)._tables.clear())

    def remember(self, ids: Tensor) -> None:
        """Remember a text, (N,) token ids; of a longer one than `size`, the beginning."""
        ids = ids[: len(self.memory)]
        self.memory.fill_(-1)
        self.memory[: len(ids)] = ids
        self._count()

    @torch.no_grad()
    def forward(self, context: Tensor, T: int, start: Tensor | None) -> Tensor:
        """Log-probabilities of what comes after each of the last T tokens of `context`: (B, S) -> (B, T, order, V).

        Negative ids are no tokens. `start`, (B,), is where the first of the T is in the remembered text, in training.
        """
        if not self._tables:
            self._count()
        positions = None if start is None else start[:, None] + torch.arange(T, device=start.device)  # (B, T)
        rows = torch.zeros_like(context)
        p = self._single.expand(*context[:, -T:].shape, -1)  # (B, T, V)
        result = []
        for number, table in enumerate(self._tables):
            before = rows if number == 0 else pad(rows[:, :-1], (1, 0), value=-1)
            rows = table.rows(before, context)
            p = table.probabilities(rows[:, -T:], positions, p)
            result.append(p)
        result += [p] * (self.order - len(result))  # the text is too short for longer contexts
        return torch.stack(result, dim=2).log()

    def _count(self) -> None:
        self._tables.clear()
        ids, V = self.memory[self.memory >= 0].long(), self.vocab_size
        self._single = (ids.bincount(minlength=V) + 1) / (len(ids) + V)
        rows = torch.zeros(len(ids) + 1, dtype=torch.int64, device=ids.device)
        for k in range(1, min(self.order, len(ids) - 1) + 1):  # rows[i] is of the context that ends at token k - 2 + i
            keys, rows = torch.unique(rows[:-1] * V + ids[k - 1 :], return_inverse=True)
            parts = torch.arange(k - 1, len(ids) - 1, device=ids.device) * _PARTS // len(ids)
            own_keys, own_rows = torch.unique(rows[:-1] * _PARTS + parts, return_inverse=True)
            counts, own = (_counts(r, ids[k:], len(n), V) for r, n in ((rows[:-1], keys), (own_rows, own_keys)))
            self._tables.append(_Table(keys, counts, own_keys, own.clamp(max=2**15 - 1).short(), len(ids)))


@dataclass(frozen=True)
class _Table:
    """What followed the contexts of one length: a row for each context."""

    keys: Tensor  # (R,) ascending: the row of the context without its last token, and that token
    counts: Tensor  # (R, V)
    own_keys: Tensor  # (Q,) ascending: a row, and a part of the remembered text
    own_counts: Tensor  # (Q, V): the counts in that part alone
    size: int  # of the remembered text

    def rows(self, before: Tensor, last: Tensor) -> Tensor:
        """The rows of contexts, -1 where there is none: (B, S) rows without the last token, (B, S) last tokens."""
        row, is_found = _find(self.keys, before * self.counts.shape[1] + last)
        return torch.where(is_found & (before >= 0) & (last >= 0), row, -1)

    def probabilities(self, rows: Tensor, positions: Tensor | None, lower: Tensor) -> Tensor:
        """Discounted frequencies, and `lower`, (B, T, V), in place of what was taken from them: (B, T, V)."""
        counts = self.counts[rows.clamp(min=0)] * (rows >= 0)[..., None]  # (B, T, V)
        if positions is not None:
            own, is_found = _find(self.own_keys, rows * _PARTS + positions * _PARTS // self.size)
            is_found &= (rows >= 0) & (positions < self.size)
            counts = counts - self.own_counts[own] * is_found[..., None]
        total = counts.sum(dim=-1, keepdim=True).clamp(min=1)
        taken = counts.clamp(max=_DISCOUNT)  # all of a count below the discount
        p = ((counts - taken) + taken.sum(dim=-1, keepdim=True) * lower) / total
        return torch.where(counts.any(dim=-1, keepdim=True), p, lower)


def _counts(rows: Tensor, tokens: Tensor, size: int, V: int) -> Tensor:
    """How often each token comes with each row: (N,), (N,) -> (size, V)."""
    counts = torch.zeros(size * V, dtype=torch.int32, device=rows.device)
    return counts.index_add_(0, rows * V + tokens, torch.ones_like(tokens, dtype=torch.int32)).view(size, V)


def _find(keys: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Where `wanted` values are in the ascending `keys`, and whether they are there."""
    index = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return index, keys[index] == wanted
