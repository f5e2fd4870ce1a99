"""A small stage's loss and gradient on a CPU, recorded once for each shape of a batch and then repeated.

A step of a small stage spends most of its time between its operations: in the stage's Python, in autograd, and in
allocating memory. A recording does without (gpt/training/program.py) and gives the same loss and gradient bit for bit.
"""

import logging
import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gpt.data.batch import Batch
from gpt.training.objectives import Autograd
from gpt.training.program import Program
from gpt.training.tape import Tape

log = logging.getLogger(__name__)

_MOST = 4  # shapes of a batch; a ladder's run has one or two


class RecordedGradient:
    """The gradient of a model's loss, as `autograd` computes it.

    The second batch of a shape is recorded, because a model may do more in its first pass. The recording is used if
    another one is the same and if it repeats the loss and the gradient bit for bit.
    """

    def __init__(self, model: nn.Module, autograd: Autograd) -> None:
        self._model, self._autograd = model, autograd
        self._parameters = [*model.parameters()]
        self._seen: set[tuple[Any, ...]] = set()
        self._recordings: dict[tuple[Any, ...], _Recording | None] = {}

    def __call__(self, model: nn.Module, batch: Batch, weight: float) -> Tensor:
        """As of `Autograd`."""
        # The memory of the weights is a part of a recording.
        key = (batch.targets.shape, *map(Tensor.data_ptr, self._parameters))
        if key in self._seen and key not in self._recordings and len(self._recordings) < _MOST:
            self._recordings[key] = _confirmed(self._model, self._autograd, batch)
        self._seen.add(key)
        recording = self._recordings.get(key)
        return self._autograd(model, batch, weight) if recording is None else recording(batch, weight)


class _Recording:
    """The loss of a batch and its gradient, recorded from an example, of which they are `expected`."""

    def __init__(self, model: nn.Module, autograd: Autograd, example: Batch) -> None:
        self._casts = autograd.runtime.dtype is not torch.float32
        self._inputs, self._targets = tuple(x.clone() for x in example.inputs), example.targets.clone()
        self._weight = torch.ones(())
        parameters = [p for p in model.parameters() if p.requires_grad]
        given = [*_state(model), *self._inputs, self._targets, self._weight]
        with Tape() as tape:
            value = autograd.loss_of(model, Batch(self._inputs, self._targets, example.tokens))
            weighted = value * self._weight
            found = torch.autograd.grad(weighted, parameters, allow_unused=True)
            self._trained = [p for p, gradient in zip(parameters, found, strict=True) if gradient is not None]
            gradients = _as_accumulated(self._trained, [x for x in found if x is not None], given)
            wanted = [weighted, *gradients]
        self.expected = [x.detach().clone() for x in wanted]
        self.program = Program(tape.calls, given, wanted)

    def __call__(self, batch: Batch, weight: float) -> Tensor:
        """As of `Autograd`."""
        gradients = [p.grad if p.grad is None else p.grad.clone() for p in self._trained]  # of other parts of the batch
        loss, *found = self.run(batch, weight)
        for p, before, gradient in zip(self._trained, gradients, found, strict=True):
            p.grad = gradient if before is None else before.add_(gradient)
        return loss

    def run(self, batch: Batch, weight: float) -> list[Tensor]:
        """The weighted loss and its gradient for each trained parameter, which the next run overwrites."""
        for own, x in zip((*self._inputs, self._targets), (*batch.inputs, batch.targets), strict=True):
            own.copy_(x)
        self._weight.fill_(weight)
        if not self._casts:
            return self.program.run()
        with torch.autocast("cpu", enabled=False):  # the casts are recorded
            return self.program.run()


def _confirmed(model: nn.Module, autograd: Autograd, batch: Batch) -> _Recording | None:
    """A recording of a batch, if there is one that repeats it; the model and the random numbers stay as they are."""
    if any(_has_hooks(module) for module in model.modules()):
        return None
    buffers, drawn, from_python = [x.clone() for x in model.buffers()], torch.get_rng_state(), random.getstate()
    try:
        recordings = []
        for _ in range(2):
            torch.set_rng_state(drawn)
            recordings.append(_Recording(model, autograd, batch))
        first, second = recordings
        torch.set_rng_state(drawn)
        is_same = first.program.text == second.program.text and random.getstate() == from_python
        repeated = zip(first.run(batch, 1.0), second.expected, strict=True)
        return first if is_same and all(torch.equal(x, y) for x, y in repeated) else None
    except Exception as error:  # of the model, which autograd raises again, or of an operation that TorchScript lacks
        log.debug(f"not recorded: {error}")
        return None
    finally:
        torch.set_rng_state(drawn)
        random.setstate(from_python)
        for own, before in zip(model.buffers(), buffers, strict=True):
            own.copy_(before)


def _state(model: nn.Module) -> list[Tensor]:
    """The tensors of a model, registered or not."""
    others = [x for module in model.modules() for x in vars(module).values() if isinstance(x, Tensor)]
    return [*model.parameters(), *model.buffers(), *others]


def _has_hooks(module: nn.Module) -> bool:
    """Whether a module calls functions that are not its own, apart from the objective's."""
    before = [hook for hook in module._forward_pre_hooks.values() if not hook.__module__.startswith("gpt.")]
    return bool(before or module._forward_hooks or module._backward_hooks or module._backward_pre_hooks)


def _as_accumulated(parameters: Sequence[Tensor], gradients: Sequence[Tensor], given: Sequence[Tensor]) -> list[Tensor]:
    """The gradients in memory of their own and in the layout of their parameters, as autograd accumulates them."""
    taken = {x.untyped_storage().data_ptr() for x in given}
    found = []
    for p, gradient in zip(parameters, gradients, strict=True):
        memory = gradient.untyped_storage().data_ptr()
        if gradient.stride() != p.stride() or memory in taken:
            gradient = torch.empty_like(p, requires_grad=False).copy_(gradient)
        taken.add(memory)
        found.append(gradient)
    return found
