"""N-gram counts of the training text, as probabilities of the next token; v9 combines them with its network.

This is the oldest kind of language model. Alone it is far worse than a network. From the first iteration, it knows
rare words and other facts that a network takes long to learn.

Sources: "On Structuring Probabilistic Dependences in Stochastic Language Modelling" (Ney et al., 1994), section 4, for
absolute discounting with interpolation; "Infini-gram" (Liu et al., 2024), section 5, for adding counts to a network.
"""

import math
from typing import Annotated, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad

from gpt.base.errors import RequestError, UserError
from gpt.models import TokenIds
from gpt.models.kv_cache import active_cache, with_left_context

NGramOrder = Annotated[int, Field(ge=1, le=12)]

_DISCOUNT = 0.85  # taken from each count and given to the predictions of the shorter context
_PARTS = 10
_FLOAT = 4  # bytes
# The largest table in bytes: a fixed number, plus a number per token counted. Tiny Shakespeare needs 119 per token.
_SMALL_TABLE, _BYTES_PER_TOKEN = 2**25, 512
_LARGEST_WINDOW = 2**26  # bytes of the probabilities for one window
_RECENT = 6.0  # weight of an occurrence in the window itself
_INSTEAD = "use a smaller model.ngrams, or model=v8, which has no counts"


class NGrams(nn.Module):
    """The probabilities of the next token after the last 1, 2, ... `order` tokens, counted in a remembered text.

    In training, the remembered text is cut into ten parts, and a token's prediction does not use the counts of its own
    part. Otherwise the text would predict itself, and the network would trust the counts too much on other text.

    Occurrences earlier in the window count with a larger weight, because a text repeats its names: a "cache" in the
    sense of "A Cache-Based Natural Language Model" (Kuhn and De Mori, 1990).
    """

    memory: Tensor
    _powers: Tensor  # (order)

    def __init__(self, vocab_size: int, order: int, window: int, size: int) -> None:
        super().__init__()
        if order * math.log2(vocab_size + 1) > 62:
            raise ValueError(f"ngrams={order} of {vocab_size} tokens do not fit into 64 bits: {_INSTEAD}")
        if order * window * vocab_size * _FLOAT > _LARGEST_WINDOW:
            raise ValueError(
                f"the counts of ngrams={order} after each of {window} tokens do not fit into memory: {_INSTEAD}"
            )
        self.vocab_size, self.order, self.window = vocab_size, order, window
        # The whole state: token ids, -1 where there is none. The counts are made from it in a second or two.
        dtype = torch.int16 if vocab_size < 2**15 else torch.int32
        self.register_buffer("memory", torch.full((size,), -1, dtype=dtype))
        self.register_buffer("_powers", torch.tensor([vocab_size**n for n in range(order)]), persistent=False)
        self._counts: Tensor | None = None  # (contexts, V): what followed each context
        self.register_load_state_dict_post_hook(lambda module, _: module.check_memory())

    def remember(self, text: TokenIds) -> None:
        """Remember a text, (N,) token ids, N > 0, or its first `size` tokens."""
        ids = text[: len(self.memory)].to(self.memory.device)  # A long text stays in its file.
        self.memory.fill_(-1)
        self.memory[: len(ids)] = ids
        rows = self._count()  # (N, order)
        # Counts for each part of the text; an occurrence is in the part of the last token of its context.
        parts = self._parts(torch.arange(len(rows), device=rows.device)[:, None] - 1)  # (N, 1)
        self._own_keys, own_rows = torch.unique(rows * _PARTS + parts, return_inverse=True)
        self._check_table(len(self._own_keys), times=4)
        self._own_counts = _counts(own_rows, ids, len(self._own_keys), self.vocab_size)
        self._own_counts[0] = 0

    def check_memory(self) -> None:
        """Forget the counts, to count again at the next use. Raises UserError for tokens outside the vocabulary."""
        self._counts = None
        if self.memory.max() >= self.vocab_size or self.memory.min() < -1:
            raise UserError(f"these weights are damaged: they remember tokens beyond a vocabulary of {self.vocab_size}")

    def table_bytes(self) -> int:
        """The size of the table of counts, which is built when the model is loaded."""
        if self._counts is None:
            self._count()
        return cast(Tensor, self._counts).nbytes

    @torch.no_grad()
    def forward(self, idx: Tensor, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Predict the token after each of the (B, T) token ids.

        Returns probabilities, (B, T, order, V), and how often each context was counted, (B, T, order). In training,
        `start`, (B,), is where the windows begin in the remembered text, so that their first contexts can reach back
        before them.
        """
        if self._counts is None:
            self._count()
        keys = self._context_keys(self._context(idx, start))  # (B, T, order)
        rows = _find(self._keys, keys)  # (B, T, order)
        counts = cast(Tensor, self._counts)[rows]  # (B, T, order, V)
        if start is not None:
            positions = start[:, None, None] + torch.arange(idx.shape[1], device=start.device)[:, None]  # (B, T, 1)
            own = _find(self._own_keys, rows * _PARTS + self._parts(positions))
            counts = counts - self._own_counts[own] * ((rows > 0) & (positions < self._length))[..., None]
        counts = counts + _RECENT * self._recent_counts(idx, keys)
        total = counts.sum(dim=-1, keepdim=True)  # (B, T, order, 1)
        divisor = total.clamp(min=1)
        taken = counts.clamp(max=_DISCOUNT)  # the whole count if it is below the discount
        kept = (counts - taken) / divisor  # (B, T, order, V)
        passed_on = torch.where(total > 0, taken.sum(dim=-1, keepdim=True) / divisor, 1.0)  # (B, T, order, 1)
        p = self._single  # (V)
        result = []
        for own, share in zip(kept.unbind(2), passed_on.unbind(2), strict=True):
            p = torch.addcmul(own, share, p)  # (B, T, V)
            result.append(p)
        return torch.stack(result, dim=2), total[..., 0]

    def _context(self, idx: Tensor, start: Tensor | None) -> Tensor:
        """Prepend the order - 1 preceding tokens: (B, T) -> (B, order - 1 + T), with -1 where there is none."""
        n = self.order - 1
        context = with_left_context(idx[..., None] + 1, n)[..., 0] - 1
        if start is not None and n:
            before = start[:, None] + torch.arange(-n, 0, device=start.device)  # (B, n)
            is_known = (before >= 0) & (before < self._length)
            context[:, :n] = torch.where(is_known, self.memory[before * is_known], -1)
        return context

    def _recent_counts(self, idx: Tensor, keys: Tensor) -> Tensor:
        """Counts of the following tokens in the window so far: (B, T) ids, (B, T, order) keys -> (B, T, order, V)."""
        T, n = idx.shape[1], 0 if active_cache() is None else self.window - 1
        tokens = with_left_context(idx[..., None], n)[..., 0]  # (B, S)
        earlier = with_left_context(keys, n).transpose(1, 2)  # (B, order, S)
        here = keys.where(keys > 0, -1).transpose(1, 2)  # (B, order, T); contexts that are not there never match
        is_same = (here[..., None] == earlier[..., None, :]).float().tril(earlier.shape[2] - T - 1)  # (B, order, T, S)
        following = torch.zeros(*tokens.shape, self.vocab_size, device=tokens.device)  # (B, S, V), one-hot
        following.scatter_(2, tokens.roll(-1, 1)[..., None], 1)
        return (is_same @ following[:, None]).transpose(1, 2)

    def _context_keys(self, ids: Tensor) -> Tensor:
        """A number for each of the contexts of 1 .. order tokens that end at each token, 0 where there is none.

        ids: (..., order - 1 + T) -> (..., T, order). A context is read as a number in base V, last token first, with
        digits from 1 to V, so that contexts of any lengths have different numbers.
        """
        latest_first = ids.unfold(-1, self.order, 1).flip(-1)  # (..., T, order)
        return ((latest_first + 1) * self._powers).cumsum(dim=-1) * (latest_first >= 0)

    def _count(self) -> Tensor:
        """Count what follows each context. Returns the rows of the contexts before each token: (N, order).

        Row 0 stands for a missing context and has no counts.
        """
        ids, V = self.memory[self.memory >= 0].long(), self.vocab_size
        self._length = len(ids)
        self._single = (ids.bincount(minlength=V) + 1) / (len(ids) + V)
        found, rows, size = [ids.new_zeros(1)], [], 1
        column = torch.zeros_like(ids)  # the numbers of the contexts of `_context_keys`, one length after the other
        before = pad(ids + 1, (self.order, 0))  # 0 where there is no token
        for n in range(1, self.order + 1):  # a longer context is always a larger number
            token = before[self.order - n : len(before) - n]
            column = (column + token * self._powers[n - 1]) * (token > 0)
            own, index = torch.unique(pad(column, (1, 0)), return_inverse=True)  # own[0] is 0
            rows.append(torch.where(index[1:] > 0, index[1:] + size - 1, 0))
            found.append(own[1:])
            size += len(own) - 1
            self._check_table(size)
        result = torch.stack(rows, dim=-1)
        counts = _counts(result, ids, size, V)
        counts[0] = 0
        self._keys = torch.cat(found)
        self._counts = counts  # set only when complete: a server's threads may share the model
        return result

    def _check_table(self, contexts: int, times: int = 1) -> None:
        """Raise RequestError if a table for these contexts would be out of proportion to the text."""
        size = contexts * self.vocab_size * _FLOAT
        if size > times * (_SMALL_TABLE + _BYTES_PER_TOKEN * self._length):
            raise RequestError(
                f"ngrams={self.order} with a vocabulary of {self.vocab_size:,} needs a table of more than "
                f"{size / 1e6:,.0f} MB for a text of {self._length:,} tokens: {_INSTEAD}"
            )

    def _parts(self, positions: Tensor) -> Tensor:
        """The part of the remembered text that contains each position."""
        return positions * _PARTS // self._length


def _counts(rows: Tensor, tokens: Tensor, size: int, V: int) -> Tensor:
    """How often each of the V tokens occurs with each of the `size` rows: (N, order), (N,) -> (size, V)."""
    index = (rows * V + tokens[:, None]).flatten()
    ones = torch.ones((), device=rows.device).expand(index.shape)
    return torch.zeros(size * V, device=rows.device).index_add_(0, index, ones).view(size, V)


def _find(keys: Tensor, wanted: Tensor) -> Tensor:
    """The index of each `wanted` value in the ascending `keys`; 0 for missing ones."""
    index = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return index * (keys[index] == wanted)
