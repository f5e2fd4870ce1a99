"""A small stage's loss and gradient on a CPU, recorded once for each shape of a batch and then repeated.

A step of a small stage spends much of its time between its operations, in the stage's Python and in autograd. A
recording needs neither, and gives the same loss and gradient bit for bit: TorchScript starts the same kernels in the
same order. PyTorch has deprecated TorchScript, but the successors compile for half a minute.
"""

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gpt.data.batch import Batch
from gpt.models import has_package_code_only
from gpt.training.objectives import Autograd

log = logging.getLogger(__name__)

_MOST = 4  # shapes of a batch; a ladder's run has one or two
_aten = torch.ops.aten
_STAYING = (_aten.empty.memory_format, _aten.lift_fresh.default)  # their results are kept


class RecordedGradient:
    """The gradient of a model's loss, as `autograd` computes it.

    The second batch of a shape is recorded, because a stage may do more in its first pass. The recording is used if it
    gives the loss and the gradient of the third batch bit for bit. Only this package's code is recorded: another module
    may read the tokens, count its calls or have hooks, and a few batches need not show that.
    """

    def __init__(self, model: nn.Module, autograd: Autograd) -> None:
        self._autograd = autograd
        self._parameters = [*model.parameters()]
        self._batches: Counter[tuple[Any, ...]] = Counter()
        self._recordings: dict[tuple[Any, ...], _Recording | None] = {}

    def __call__(self, model: nn.Module, batch: Batch, weight: float) -> Tensor:
        """Add the gradient of the weighted loss to the gradients of the parameters; returns that loss, a scalar."""
        # A recording depends on the memory of the weights.
        key = (batch.targets.shape, *map(Tensor.data_ptr, self._parameters))
        self._batches[key] += 1
        if self._batches[key] == 2 and len(self._recordings) < _MOST and has_package_code_only(model):
            self._recordings[key] = recording = _recorded(model, self._autograd, batch, weight)
            if recording is not None:
                return recording.accumulate(recording.first)
        recording = self._recordings.get(key)
        if recording is None:
            return self._autograd(model, batch, weight)
        if self._batches[key] == 3:
            loss, is_same = recording.compared(model, self._autograd, batch, weight)
            if not is_same:
                self._recordings[key] = None
            return loss
        return recording.accumulate(recording.run(batch, weight))


class _Recording:
    """The loss of a batch and its gradient, recorded from an example; `first` has the example's."""

    def __init__(self, model: nn.Module, autograd: Autograd, example: Batch, weight: float) -> None:
        self._inputs, self._targets = tuple(x.clone() for x in example.inputs), example.targets.clone()
        self._weight = torch.full((), weight)
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
        self.first = [x.detach() for x in (weighted, *gradients)]
        self._program = Program(tape.calls, given, [weighted, *gradients])

    def run(self, batch: Batch, weight: float) -> list[Tensor]:
        """The weighted loss and its gradient for each trained parameter."""
        for own, x in zip((*self._inputs, self._targets), (*batch.inputs, batch.targets), strict=True):
            own.copy_(x)
        self._weight.fill_(weight)
        return self._program.run()

    def accumulate(self, found: Sequence[Tensor]) -> Tensor:
        """Add the gradients that were found to the gradients of the parameters; returns the loss."""
        loss, *gradients = found
        for p, gradient in zip(self._trained, gradients, strict=True):
            p.grad = gradient if p.grad is None else p.grad.add_(gradient)
        return loss

    def compared(self, model: nn.Module, autograd: Autograd, batch: Batch, weight: float) -> tuple[Tensor, bool]:
        """The loss by `autograd`, and whether the recording gives the same loss, gradient and random numbers."""
        drawn, buffers = torch.get_rng_state(), [x.clone() for x in model.buffers()]
        expected, *gradients = self.run(batch, weight)
        ends = torch.get_rng_state()
        torch.set_rng_state(drawn)
        for own, before in zip(model.buffers(), buffers, strict=True):
            own.copy_(before)
        sums = {p: p.grad.clone() for p in model.parameters() if p.grad is not None}
        sums |= {p: sums[p] + x if p in sums else x for p, x in zip(self._trained, gradients, strict=True)}
        loss = autograd(model, batch, weight)
        found = {p: p.grad for p in model.parameters() if p.grad is not None}
        pairs = [(expected, loss), (ends, torch.get_rng_state()), *((sums[p], found[p]) for p in sums.keys() & found)]
        return loss, len(sums) == len(found) == len(pairs) - 2 and all(torch.equal(x, y) for x, y in pairs)


def _recorded(model: nn.Module, autograd: Autograd, batch: Batch, weight: float) -> _Recording | None:
    """A recording of a batch, or None if there can be none."""
    drawn = torch.get_rng_state()
    try:
        return _Recording(model, autograd, batch, weight)
    except Exception as error:  # autograd repeats an error of the model; TorchScript lacks some operations
        log.debug(f"not recorded: {error}")
        torch.set_rng_state(drawn)
        return None


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
    """The handling of each PyTorch operation by `Listener`.

    It has a class of its own: as a method of a mode, it would make PyTorch import its compiler, which takes seconds.
    """

    def heard(self, call: Call) -> None:
        """An operation was started."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        del types
        result = func(*args, **(kwargs or {}))
        self.heard(Call(func, args, kwargs or {}, result))
        return result


class Listener(_Listening, TorchDispatchMode):
    """A context whose `heard` is called for each operation in it, forward and backward."""


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

    given: the tensors that the operations start from, the same objects in every run. wanted: the tensors to return.
    Raises an error for an operation that cannot be repeated.
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
        """Whether the next operation can be skipped: its results are kept, or are views of given tensors."""
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
            return self._names[id(value)]  # KeyError for a tensor that was neither given nor computed
        if isinstance(value, tuple | list):
            return f"[{', '.join(map(self._literal, value))}]"
        if isinstance(value, float) and not math.isfinite(value):
            return f'float("{value}")'
        if isinstance(value, torch.device):
            return f'torch.device("{value}")'
        if value == -(2**63):  # TorchScript reads the number before the sign, and it is too large
            return f"({value + 1} - 1)"
        return repr(value)


def _tensors(values: Any) -> list[Tensor]:
    """The tensors in a structure of lists and tuples."""
    return [x for x in tree_leaves(values) if isinstance(x, Tensor)]
