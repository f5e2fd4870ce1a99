"""A small stage's loss and gradient on a CPU, recorded once for each shape of a batch and then repeated.

A step of a small stage spends much of its time between its operations, in the stage's Python and in autograd. A
recording does without, and gives the same loss and gradient bit for bit: TorchScript starts the same kernels in the
same order. PyTorch has deprecated TorchScript, whose successors compile for half a minute.
"""

import logging
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gpt.data.batch import Batch
from gpt.training.objectives import Autograd

log = logging.getLogger(__name__)

_MOST = 4  # shapes of a batch; a ladder's run has one or two
_aten = torch.ops.aten
_STAYING = (_aten.empty.memory_format, _aten.lift_fresh.default)  # their results, memory and numbers, are kept


class RecordedGradient:
    """The gradient of a model's loss, as `autograd` computes it.

    The second batch of a shape is recorded, because a model may do more in its first pass. The recording is used if
    another one is the same and if it repeats the loss and the gradient bit for bit.
    """

    def __init__(self, model: nn.Module, autograd: Autograd) -> None:
        self._model, self._autograd = model, autograd
        self._parameters = [*model.parameters()]
        self._batches: Counter[tuple[Any, ...]] = Counter()
        self._recordings: dict[tuple[Any, ...], _Recording | None] = {}

    def __call__(self, model: nn.Module, batch: Batch, weight: float) -> Tensor:
        """As of `Autograd`."""
        # The memory of the weights is a part of a recording.
        key = (batch.targets.shape, *map(Tensor.data_ptr, self._parameters))
        self._batches[key] += 1
        if self._batches[key] == 2 and len(self._recordings) < _MOST:
            self._recordings[key] = _confirmed(self._model, self._autograd, batch)
        recording = self._recordings.get(key)
        return self._autograd(model, batch, weight) if recording is None else recording(batch, weight)


class _Recording:
    """The loss of a batch and its gradient, recorded from an example, of which they are `expected`."""

    def __init__(self, model: nn.Module, autograd: Autograd, example: Batch) -> None:
        self._inputs, self._targets = tuple(x.clone() for x in example.inputs), example.targets.clone()
        self._weight = torch.ones(())
        parameters = [p for p in model.parameters() if p.requires_grad]
        unregistered = [x for module in model.modules() for x in vars(module).values() if isinstance(x, Tensor)]
        given = [*model.parameters(), *model.buffers(), *unregistered, *self._inputs, self._targets, self._weight]
        with Tape() as tape:
            value = autograd.loss_of(model, Batch(self._inputs, self._targets, example.tokens))
            weighted = value * self._weight
            found = torch.autograd.grad(weighted, parameters, allow_unused=True)
            given += [call.result for call in tape.calls if call.operation in _STAYING]
            self._trained = [p for p, gradient in zip(parameters, found, strict=True) if gradient is not None]
            gradients = _as_accumulated(self._trained, [x for x in found if x is not None], given)
        self.expected = [x.detach() for x in (weighted, *gradients)]
        self.program = Program(tape.calls, given, [weighted, *gradients])

    def __call__(self, batch: Batch, weight: float) -> Tensor:
        """As of `Autograd`."""
        loss, *found = self.run(batch, weight)
        for p, gradient in zip(self._trained, found, strict=True):
            p.grad = gradient if p.grad is None else p.grad.add_(gradient)
        return loss

    def run(self, batch: Batch, weight: float) -> list[Tensor]:
        """The weighted loss and its gradient for each trained parameter."""
        for own, x in zip((*self._inputs, self._targets), (*batch.inputs, batch.targets), strict=True):
            own.copy_(x)
        self._weight.fill_(weight)
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


@dataclass(frozen=True)
class Call:
    """An operation that was started, with what it was given and what it returned."""

    operation: Any
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    result: Any


class _Listening:
    """What `Listener` does with each operation of PyTorch.

    In a class of its own, because a mode whose own method this is imports PyTorch's compiler, which takes seconds.
    """

    def heard(self, call: Call) -> None:
        """An operation was started."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        del types
        result = func(*args, **(kwargs or {}))
        self.heard(Call(func, args, kwargs or {}, result))
        return result


class Listener(_Listening, TorchDispatchMode):
    """A context that hears of each operation in it, forward and backward."""


class Tape(Listener):
    """A context that records the operations in it as `calls`, and keeps all their tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def heard(self, call: Call) -> None:
        """Record it."""
        self.calls.append(call)


class Program:
    """Recorded operations as TorchScript, in which c0, c1, ... are given and v0, v1, ... are computed.

    given: the tensors that the operations start from, the same objects in every run. wanted: those whose values are
    the results. Raises an error for what cannot be repeated.
    """

    def __init__(self, calls: Sequence[Call], given: Sequence[Tensor], wanted: Sequence[Tensor]) -> None:
        self._given = [*given]
        self._names = {id(x): f"c{i}" for i, x in enumerate(given)}
        lines = [self._line(call) for call in calls if not self._is_given(call)]
        arguments = ", ".join(f"c{i}: Tensor" for i in range(len(self._given)))
        results = ", ".join(map(self._literal, wanted))
        self.text = "\n    ".join([f"def program({arguments}):", *lines, f"return [{results}]\n"])
        self._function = torch.jit.CompilationUnit(self.text).program

    def run(self) -> list[Tensor]:
        """Start the operations, and return the wanted tensors."""
        with torch.no_grad(), torch.jit.optimized_execution(False):  # optimizing takes longer than it saves
            found: list[Tensor] = self._function(*self._given)
            return found

    def _is_given(self, call: Call) -> bool:
        """Whether the next operation has nothing to do: its results are given, or views of what is."""
        if call.operation in _STAYING:
            return True
        aliases = [result.alias_info for result in call.operation._schema.returns]
        is_view = any(a is not None and not a.is_write for a in aliases)
        if not (is_view and all(self._literal(x).startswith("c") for x in _tensors(call.arguments))):
            return False
        for x in _tensors(call.result):
            self._names[id(x)] = f"c{len(self._given)}"
            self._given.append(x.detach())
        return True

    def _line(self, call: Call) -> str:
        """The next operation. Raises ValueError if the number or shape of its results depends on values."""
        results = _tensors(call.result)
        depends = torch.Tag.dynamic_output_shape in call.operation.tags
        if call.operation is _aten.index.Tensor:
            depends = any(x.dtype in (torch.bool, torch.uint8) for x in _tensors(call.arguments[1]))
        if depends or not results:
            raise ValueError(f"{call.operation} depends on values")
        schema = call.operation._schema
        texts = []
        for x, argument in zip(call.arguments, schema.arguments, strict=False):
            is_annotated = str(argument.type) == "List[Optional[Tensor]]"
            text = self._literal(x)
            texts.append(f"torch.jit.annotate(List[Optional[Tensor]], {text})" if is_annotated else text)
        texts += [f"{name}={self._literal(x)}" for name, x in call.options.items()]
        for x in results:
            self._names.setdefault(id(x), f"v{len(self._names)}")
        names = [self._literal(x) for x in results]
        comma = "," if isinstance(call.result, list) else ""
        return f"{', '.join(names)}{comma} = torch.ops.{schema.name.replace('::', '.')}({', '.join(texts)})"

    def _literal(self, value: Any) -> str:
        if isinstance(value, Tensor):
            return self._names[id(value)]  # KeyError for one that was neither given nor computed
        if isinstance(value, tuple | list):
            return f"[{', '.join(map(self._literal, value))}]"
        if isinstance(value, float) and not math.isfinite(value):
            return f'float("{value}")'
        if isinstance(value, torch.device):
            return f'torch.device("{value}")'
        if value == -(2**63):  # without its sign, too large for TorchScript
            return f"({value + 1} - 1)"
        return repr(value)


def _tensors(values: Any) -> list[Tensor]:
    """The tensors in a structure of lists and tuples."""
    return [x for x in tree_leaves(values) if isinstance(x, Tensor)]
