"""The key-value cache of a decoder: keys and values of all tokens read, and the states of recurrences.

Without a cache, every new token costs a forward pass over the entire context; with one, a pass over a single token.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from gpt.models import v2_attention_head

# A recurrence over some tokens: the state before them, (B, ...), -> their outputs, (B, ...), and the state after them.
Recurrence = Callable[[Tensor], tuple[Tensor, Tensor]]


class KVCache:
    """Keys and values of up to `size` tokens for every layer, and the state of every recurrence after the last token.

    A layer's memory is allocated at its first append. A stage takes no cache as an argument; decoding activates one:

        cache = KVCache(model.block_size)
        with cache.active():
            logits = model(idx)  # idx: (B, T) the new tokens alone -> (B, T, V)

    `length` is the number of tokens read so far. Set it to 0 to empty the cache. A full cache that `slides` drops the
    oldest token for each new one; its keys must not depend on where the window begins. States continue.
    """

    def __init__(self, size: int, *, slides: bool = False) -> None:
        self.size, self.slides = size, slides
        self.length = 0
        self.layers: list[Tensor] = []  # keys and values of a layer: (2, B, H, size, D)
        self.mask: Tensor | None = None  # (1, S), the visible tokens; None: all that `append` returns
        self.states: list[Tensor] = []  # of each call of `continued`: (B, ...)
        # During a forward pass:
        self._next_layer = 0
        self._unread = 0  # tokens that `length` does not count yet
        self._new_states: list[Tensor] = []

    @contextmanager
    def active(self) -> Iterator[None]:
        """Use this cache in one forward pass of a model. `length` changes only if the pass ends without an error."""
        self._next_layer = self._unread = 0
        self._new_states = []
        token = _active.set(self)
        try:
            yield
        finally:
            _active.reset(token)
        self.length += self._unread
        self.states = self._new_states

    def append_next(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """`append` to the next layer of the current forward pass: the n-th call is for the n-th layer."""
        keys, values = self.append(self._next_layer, k, v)
        self._next_layer, self._unread = self._next_layer + 1, k.shape[2]
        return keys, values

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store k and v, (B, H, T, D) each, after the tokens of `layer`; return all it holds: (B, H, S, D) each.

        Raises ValueError if they do not fit, or if T > 1 and the cache is not empty: no decoder here needs the causal
        mask for that, which is not square.
        """
        B, H, T, D = k.shape
        start = self.slot(T)
        if T > 1 and self.length:
            raise ValueError("several tokens can only be read into an empty cache")
        if layer == len(self.layers):
            self.layers.append(k.new_zeros(2, B, H, self.size, D))  # zeros: masking does not remove a NaN
        keys, values = self.layers[layer]  # (B, H, size, D) each
        keys[:, :, start : start + T] = k
        values[:, :, start : start + T] = v
        filled = min(self.length + T, self.size)
        # A cache that slides is not in order, and attention does not depend on the order.
        return keys[:, :, :filled], values[:, :, :filled]

    def slot(self, T: int) -> int:
        """Where the first of T new tokens is stored. Raises ValueError if they do not fit."""
        start = self.length % self.size if self.slides else self.length
        if start + T > self.size:
            raise ValueError(f"{start + T} tokens do not fit into a cache of {self.size}")
        return start

    def run_recurrence(self, recurrence: Recurrence, initial: Tensor, T: int) -> Tensor:
        """The outputs of a recurrence over T new tokens. Call k of a forward pass continues from call k of the previous
        pass; before the first token, the state is `initial`.
        """
        call = len(self._new_states)
        outputs, state = recurrence(initial if self.is_empty() else self.states[call])
        self._new_states.append(state)
        self._unread = T
        return outputs

    def reorder(self, rows: Tensor) -> None:
        """Replace sequence i by sequence rows[i], for beam search: rows (B,) of indices."""
        for memory in self.layers:
            used = memory[..., : self.length, :]
            used.copy_(used.index_select(1, rows))
        self.states = [state.index_select(0, rows) for state in self.states]

    def is_empty(self) -> bool:
        """Whether it holds no tokens from before the forward pass in progress."""
        return self.length == 0


class RecordedCache(KVCache):
    """A cache for recording a pass over one token after the tokens of another cache, which is not empty.

    Its length is a 0-dimensional tensor, so one recording serves every length. A subclass provides the keys, values
    and states.
    """

    def __init__(self, cache: KVCache, length: Tensor) -> None:
        super().__init__(cache.size, slides=cache.slides)
        self.length = cast(int, length)

    def slot(self, _: int) -> int:
        """Where the token is stored. If it does not fit, the other cache raises the error: a recording cannot."""
        return self.length % self.size if self.slides else self.length

    def is_empty(self) -> bool:
        """False: it records the pass over a later token."""
        return False


class Cached(nn.Module):
    """A stage that reads `active_cache`, so that generation uses a cache: worthwhile for long windows."""

    slides = False  # whether positions are relative, so that a full cache can slide


class CachedEmbedding(v2_attention_head.Embedding):
    """v2's embedding, with positions that continue after the tokens in the cache."""

    def forward(self, idx: Tensor) -> Tensor:
        """idx: (B, T) token ids -> (B, T, C). Raises ValueError if an active cache is too full."""
        T, cache = idx.shape[1], active_cache()
        here = torch.arange(T, device=self.position.weight.device)
        here = here if cache is None else here + cache.slot(T)  # This stage's cache does not slide.
        return self.token(idx) + self.position.weight.index_select(0, here)  # (B, T, C) + (T, C)


def active_cache() -> KVCache | None:
    """The cache of the enclosing `KVCache.active()`, if any. Compiled code never uses a cache."""
    return None if torch.compiler.is_compiling() else _active.get()


def positions(T: int, device: torch.device) -> Tensor:
    """The positions, (T,), of T new tokens: 0 .. T - 1, or, with an active key-value cache, the T after its tokens."""
    cache = active_cache()
    here = torch.arange(T, device=device)
    return here if cache is None else here + cache.length


def run_recurrence(recurrence: Recurrence, initial: Tensor, T: int) -> Tensor:
    """The outputs of a recurrence over T tokens, from the state `initial`, (B, ...).

    With an active key-value cache, it starts from the state after the last token of the cache.
    """
    cache = active_cache()
    return recurrence(initial)[0] if cache is None else cache.run_recurrence(recurrence, initial, T)


def with_left_context(x: Tensor, n: int) -> Tensor:
    """Prepend the x of the previous n tokens: (B, T, C) -> (B, n + T, C).

    Before the first token, x is zero. With an active key-value cache, it is the x of the cache's last tokens.
    """
    B, T, C = x.shape

    def recurrence(before: Tensor) -> tuple[Tensor, Tensor]:
        joined = torch.cat([before, x], dim=1)
        return joined, joined[:, T:]

    cache = active_cache()
    return pad(x, (0, 0, n, 0)) if cache is None else cache.run_recurrence(recurrence, x.new_zeros(B, n, C), T)


_active: ContextVar[KVCache | None] = ContextVar("active_cache", default=None)
