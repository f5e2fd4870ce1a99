"""Whether two configurations of a stage compute the same function of the same weights."""

import inspect
import math

import torch
from torch import Tensor, nn

from gpt.base.choices import Choice
from gpt.models import block_size_of, build
from gpt.runs.weights import shapes_only

_GAIN = 2.0  # of a layer of random weights: large enough that heads attend to something, and differ
_TOLERANCE = 1e-4  # of the logits, relative to the largest


def is_same_function(old: Choice, new: Choice, vocab_size: int) -> bool:
    """Whether both have tensors of the same shapes, and the same output in evaluation mode.

    The output is compared for random weights and a window as long as both have; dropout, for example, leaves it as it
    is. Raises RequestError for hyperparameters that the stage does not have.
    """
    with shapes_only():  # they may be too large for the memory
        shapes = [
            {name: t.shape for name, t in build(choice, vocab_size).state_dict().items()} for choice in (old, new)
        ]
    if shapes[0] != shapes[1]:
        return False
    models = [build(choice, vocab_size).eval() for choice in (old, new)]
    draw = torch.Generator().manual_seed(0)
    state = {name: _random(tensor, draw) for name, tensor in models[0].state_dict().items()}
    T = min(map(block_size_of, models))
    idx = torch.randint(min(1, vocab_size - 1), vocab_size, (1, T), generator=draw)  # no padding, which is 0
    a, b = (_logits(model, state, idx) for model in models)
    return bool((a - b).abs().max() <= _TOLERANCE * a.abs().max())


def _random(tensor: Tensor, draw: torch.Generator) -> Tensor:
    """Random weights; what is not trained stays."""
    if not tensor.is_floating_point():
        return tensor
    return torch.randn(tensor.shape, generator=draw) * _GAIN / math.sqrt(tensor.shape[-1] if tensor.dim() > 1 else 1)


@torch.no_grad()
def _logits(model: nn.Module, state: dict[str, Tensor], idx: Tensor) -> Tensor:
    """idx: (1, T) int64 -> (1, T, V); an encoder-decoder has it for a source as well."""
    model.load_state_dict(state)
    parameters = inspect.signature(model.forward).parameters.values()
    logits: Tensor = model(*(idx for parameter in parameters if parameter.default is parameter.empty))
    return logits
