"""A stage's pass over one more token, recorded: the same operations without the Python between them.

On a CPU, generation reads every weight once per token. In a small model, or with small weights, the stage's Python
takes longer than that. Recording takes a few hundredths of a second; PyTorch has deprecated its tracer, but the
successors compile for half a minute.

On a GPU, starting the operations takes several times as long as running them. A CUDA graph starts them all at once, on
the same memory, so its cache has a fixed shape.
"""

import threading
import warnings
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from gpt.models.kv_cache import KVCache, RecordedCache

tracing = threading.Lock()  # held while recording, because the tracer has global variables
_WARM_UP = 2  # passes in which libraries allocate memory: they cannot while a graph is captured


def traced(model: nn.Module, cache: KVCache, idx: Tensor) -> Callable[[Tensor], Tensor]:
    """`model`'s pass over one more token with `cache`, which must not be empty.

    idx: (B, 1) an example -> a function from such ids to the logits, (B, 1, V), which extends the cache as the model
    does. Raises ValueError, RuntimeError or AttributeError for a model that cannot be recorded.
    """
    step = _Step(model, cache)
    with tracing, torch.jit.optimized_execution(False), warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", torch.jit.TracerWarning)
        recorded = torch.jit.trace(step, step.inputs(idx), check_trace=False)
    if any("Converting a tensor to" in str(warning.message) for warning in found):
        raise ValueError("the model computes with values outside tensors, which would be recorded as constants")

    def advance(idx: Tensor) -> Tensor:
        logits: Tensor
        with torch.jit.optimized_execution(False):  # optimizing takes longer than it saves
            logits, *cache.states = recorded(*step.inputs(idx))
        cache.length += 1
        return logits

    return advance


class _Step(nn.Module):
    """A pass over one token as a function of tensors.

    It holds the weights itself, not the model: the tracer prepares every module, which takes longer than recording.
    """

    def __init__(self, model: nn.Module, cache: KVCache) -> None:
        super().__init__()
        self._cache, self._model = cache, (model,)  # in a tuple, it is no submodule
        for number, weights in enumerate((*model.parameters(), *model.buffers())):
            self.register_buffer(f"weights_{number}", weights)
        for number, module in enumerate(model.modules()):
            for name, value in vars(module).items():
                if isinstance(value, torch.ScriptObject):  # packed weights
                    setattr(self, f"{name}_{number}", value)

    def inputs(self, idx: Tensor) -> tuple[Tensor, ...]:
        return idx, torch.tensor(self._cache.length), *self._cache.layers, *self._cache.states

    def forward(self, idx: Tensor, length: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        cache = _TracedCache(self._cache, length, memory)
        with cache.active():
            logits = self._model[0](idx)
        return logits, *cache.states


class _TracedCache(RecordedCache):
    """A cache whose keys, values and states are the arguments of the recording."""

    def __init__(self, cache: KVCache, length: Tensor, memory: Sequence[Tensor]) -> None:
        super().__init__(cache, length)
        self._start = self.slot(1)  # once, instead of in each layer
        self._filled = cast(int, (length + 1).clamp(max=self.size))
        self.layers, self.states = list(memory[: len(cache.layers)]), list(memory[len(cache.layers) :])

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self.layers[layer]  # (B, H, size, D) each
        keys.narrow(2, self._start, 1).copy_(k)
        values.narrow(2, self._start, 1).copy_(v)
        return keys.narrow(2, 0, self._filled), values.narrow(2, 0, self._filled)


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
        cache.states = states  # from before the warm-up

    def advance(idx: Tensor) -> Tensor:
        step.prepare(idx)
        graph.replay()
        cache.length += 1
        return logits

    return advance


class StaticStep(RecordedCache):
    """A pass over one token in which every tensor has the same place and shape at every token.

    It uses the keys and values of the other cache, and shares its own states with it from the first pass on.
    """

    def __init__(self, model: nn.Module, cache: KVCache, idx: Tensor) -> None:
        super().__init__(cache, torch.tensor(cache.length, device=idx.device))
        self._model, self._cache, self._idx = model, cache, idx.clone()
        self.layers, self.states = cache.layers, [state.clone() for state in cache.states]
        self._slots = torch.arange(cache.size, device=idx.device)[None]

    def prepare(self, idx: Tensor) -> None:
        """Continue from the other cache with these ids, (B, 1)."""
        self._idx.copy_(idx)
        cast(Tensor, self.length).fill_(self._cache.length)
        if self._cache.states is not self.states:  # the other cache was emptied and has read other tokens
            for own, other in zip(self.states, self._cache.states, strict=True):
                own.copy_(other)
            self._cache.states = self.states

    def run(self) -> Tensor:
        """The logits, (B, 1, V)."""
        self.mask, states = self._slots <= self.length, self.states
        with self.active():
            logits: Tensor = self._model(self._idx)
        for own, new in zip(states, self.states, strict=True):
            own.copy_(new)
        self.states = states
        return logits

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """`KVCache.append` of one token, at the place in the tensor `length`."""
        slot = cast(Tensor, self.slot(1))[None]
        keys, values = self.layers[layer]  # (B, H, size, D) each
        return keys.index_copy_(2, slot, k), values.index_copy_(2, slot, v)
