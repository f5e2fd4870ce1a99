"""A stage's pass over one more token as a CUDA graph: all its operations are started at once.

On a GPU, starting the operations of a pass over one token takes several times as long as the operations themselves. A
graph repeats the same operations on the same memory, so its cache has one shape, whatever it holds.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from gpt.models.kv_cache import KVCache, RecordedCache

_WARM_UP = 2  # passes in which libraries allocate what they need, which is not possible while a graph is captured


def captured(model: nn.Module, cache: KVCache, idx: Tensor) -> Callable[[Tensor], Tensor]:
    """`model`'s pass over one more token with `cache`, which must not be empty.

    idx: (B, 1) an example, on a GPU -> a function from such ids to the logits, (B, 1, V), which extends the cache as
    the model does. The logits are overwritten by its next call. Raises RuntimeError for a model that waits for the GPU.
    """
    step, states = StaticStep(model, cache, idx), cache.states
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    try:
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                step.prepare(idx)
                step.run()
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads may compute meanwhile
            logits = step.run()
    finally:
        cache.states = states  # before the passes that were only to warm up

    def advance(idx: Tensor) -> Tensor:
        step.prepare(idx)
        graph.replay()
        cache.length += 1
        return logits

    return advance


class StaticStep:
    """A pass over one token in which every tensor has the same place and shape at every token."""

    def __init__(self, model: nn.Module, cache: KVCache, idx: Tensor) -> None:
        self._model, self._cache = model, cache
        self._idx, self._static = idx.clone(), _StaticCache(cache, idx.device)

    def prepare(self, idx: Tensor) -> None:
        """Continue from the cache with these ids, (B, 1)."""
        self._idx.copy_(idx)
        self._static.follow(self._cache)

    def run(self) -> Tensor:
        """The logits, (B, 1, V)."""
        with self._static.active():
            return cast(Tensor, self._model(self._idx))


class _StaticCache(RecordedCache):
    """One with the other cache's keys and values, and states of its own."""

    def __init__(self, cache: KVCache, device: torch.device) -> None:
        super().__init__(cache, torch.tensor(cache.length, device=device))
        self.layers, self.states = cache.layers, [state.clone() for state in cache.states]
        self._slots = torch.arange(cache.size, device=device)[None]

    def follow(self, cache: KVCache) -> None:
        """Hold what that cache holds, and share its states from then on."""
        cast(Tensor, self.length).fill_(cache.length)
        if cache.states is not self.states:  # it was emptied and has read other tokens
            for own, other in zip(self.states, cache.states, strict=True):
                own.copy_(other)
            cache.states = self.states

    @contextmanager
    def active(self) -> Iterator[None]:
        self.mask = self._slots <= self.length
        states = self.states
        with super().active():
            yield
        for own, new in zip(states, self.states, strict=True):
            own.copy_(new)
        self.states = states

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        slot = cast(Tensor, self.slot(1))[None]
        keys, values = self.layers[layer]  # (B, H, size, D) each
        return keys.index_copy_(2, slot, k), values.index_copy_(2, slot, v)
