"""A stage's pass over one more token, recorded: the same operations without the Python between them.

Generation reads every weight once per token; in a small model, and in a large one with small weights, running the
stage's Python takes longer than that. PyTorch has deprecated its tracer, whose successors compile for half a minute,
and recording takes a few hundredths of a second.
"""

import threading
import warnings
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from gpt.models.kv_cache import KVCache, RecordedCache

_tracing = threading.Lock()  # the tracer has global variables


def traced(model: nn.Module, cache: KVCache, idx: Tensor) -> Callable[[Tensor], Tensor]:
    """`model`'s pass over one more token with `cache`, which must not be empty.

    idx: (B, 1) an example -> a function from such ids to the logits, (B, 1, V), which extends the cache as the model
    does. Raises ValueError, RuntimeError or AttributeError for a model that cannot be recorded.
    """
    step = _Step(model, cache)
    with _tracing, torch.jit.optimized_execution(False), warnings.catch_warnings(record=True) as found:
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

    It holds the weights of the model's modules itself: the tracer prepares every module that it is given, which takes
    longer than the recording.
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
    """One whose keys, values and states are the arguments of the recording."""

    def __init__(self, cache: KVCache, length: Tensor, memory: Sequence[Tensor]) -> None:
        super().__init__(cache, length)
        self._start = self.slot(1)  # once, and not in each layer
        self._filled = cast(int, (length + 1).clamp(max=self.size))
        self.layers, self.states = list(memory[: len(cache.layers)]), list(memory[len(cache.layers) :])

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self.layers[layer]  # (B, H, size, D) each
        keys.narrow(2, self._start, 1).copy_(k)
        values.narrow(2, self._start, 1).copy_(v)
        return keys.narrow(2, 0, self._filled), values.narrow(2, 0, self._filled)
