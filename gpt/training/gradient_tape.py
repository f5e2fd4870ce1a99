"""A small stage's loss and gradient on a CPU, recorded once for each shape of a batch and then repeated.

A step of a small stage spends most of its time between its operations: in the stage's Python, in autograd, and in
allocating memory. A recording does without, and gives the same loss and gradient bit for bit: it repeats the same
kernels in the same order. TorchScript starts the operations instead of Python, and much is done once: operations that
only rename memory (`view`, `t`) are not repeated, and results go to memory that is allocated once.
PyTorch has deprecated TorchScript, whose successors compile for half a minute.
"""

import logging
import math
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import DispatchKey
from torch.utils._python_dispatch import TorchDispatchMode

from gpt.data.batch import Batch
from gpt.training.objectives import Autograd

log = logging.getLogger(__name__)

_MOST = 4  # shapes of a batch; a ladder's run has one or two
_aten = torch.ops.aten
_RENAMING = (_aten.detach.default, _aten.alias.default, _aten.lift_fresh.default)  # not even another shape
_EMPTY = (_aten.empty.memory_format, _aten.empty_like.default, _aten.empty_strided.default)
_CREATION = {"dtype", "layout", "device", "pin_memory"}  # options that memory allocated beforehand already has


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


@dataclass(frozen=True)
class Call:
    """An operation that was started, with what it was given and what it returned."""

    operation: Any
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    result: Any

    @property
    def given(self) -> list[Tensor]:
        """The tensors among the arguments and options."""
        return [*tensors(self.arguments), *tensors(self.options.values())]

    @property
    def results(self) -> list[Tensor]:
        """The tensors that it returned."""
        return [*tensors([self.result])]

    @property
    def written(self) -> list[Tensor]:
        """The arguments that it changed in place."""
        arguments = self.operation._schema.arguments
        values = dict(zip((a.name for a in arguments), self.arguments, strict=False)) | self.options
        return [values[a.name] for a in arguments if a.alias_info is not None and a.alias_info.is_write]

    @property
    def is_view(self) -> bool:
        """Whether it returns memory that it was given, in another shape or under another name."""
        aliases = [result.alias_info for result in self.operation._schema.returns]
        return self.operation is _aten._unsafe_view.default or any(a is not None and not a.is_write for a in aliases)

    @property
    def depends_on_values(self) -> bool:
        """Whether the number or the shape of the results depends on the values of what was given."""
        if self.operation is _aten.index.Tensor:
            return any(x.dtype in (torch.bool, torch.uint8) for x in self.given[1:])  # others are indices
        return torch.Tag.dynamic_output_shape in self.operation.tags or not self.results


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


def tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among values, and in lists and tuples among them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from tensors(value)


class UnrecordableError(Exception):
    """What was recorded cannot be repeated."""


class Program:
    """Recorded operations, as TorchScript.

    given: the tensors that the operations start from, the same objects in every run. wanted: those whose values are
    the results. Raises UnrecordableError, or RuntimeError for an operation that TorchScript lacks.
    """

    def __init__(self, calls: Sequence[Call], given: Sequence[Tensor], wanted: Sequence[Tensor]) -> None:
        writer = _Writer(calls, given, wanted)
        lines = [line for call in calls for line in writer.lines(call)]
        results = ", ".join(map(writer.name, wanted))
        arguments = ", ".join(f"{name}: Tensor" for name in writer.constants)
        self.text = "\n    ".join([f"def program({arguments}):", *lines, f"return [{results}]\n"])
        self._function = torch.jit.CompilationUnit(self.text).program
        self._constants = [*writer.constants.values()]

    def run(self) -> list[Tensor]:
        """Start the operations, and return the wanted tensors. The next run overwrites them."""
        with torch.no_grad(), torch.jit.optimized_execution(False):  # optimizing takes longer than it saves
            found: list[Tensor] = self._function(*self._constants)
            return found


class _Writer:
    """Writes operations as lines of TorchScript, and allocates memory for their results.

    In the text, `c3` is a tensor that stays, and `v3` one that each run computes anew.
    """

    def __init__(self, calls: Sequence[Call], given: Sequence[Tensor], wanted: Sequence[Tensor]) -> None:
        self.constants: dict[str, Tensor] = {}
        # By the id of a recorded tensor: the one that stays in its place, or the name of a variable.
        self._places: dict[int, Tensor | str] = {id(tensor): tensor for tensor in given}
        self._names: dict[int, str] = {}  # of tensors that stay, by their id
        self._variables = 0
        self._memory = _Memory(calls, wanted)

    def name(self, tensor: Tensor) -> str:
        """The name of a recorded tensor. Raises UnrecordableError if it was neither given nor computed."""
        place = self._places.get(id(tensor))
        if place is None:
            raise UnrecordableError("a tensor is used that was neither given nor computed")
        if isinstance(place, str):
            return place
        name = self._names.setdefault(id(place), f"c{len(self._names)}")
        self.constants[name] = place
        return name

    def lines(self, call: Call) -> Iterator[str]:
        """The lines of the next operation; none if nothing needs to be done in each run."""
        if call.depends_on_values:
            raise UnrecordableError(f"{call.operation} depends on values")
        if call.operation is _aten.lift_fresh.default:  # a number from Python
            self._places.setdefault(id(call.given[0]), call.given[0])
        if call.operation in _RENAMING or call.written:
            for old, new in zip(call.written or call.given, call.results, strict=True):
                self.name(old)
                self._places[id(new)] = self._places[id(old)]
        if call.written:
            yield self._text(call, call.operation)
        elif call.operation not in _RENAMING:
            yield from self._computed(call)
        self._memory.reclaim(call)

    def _computed(self, call: Call) -> Iterator[str]:
        stay = all(isinstance(self._places.get(id(x)), Tensor) for x in call.given)
        if call.is_view and stay:
            arguments, options = _replaced((call.arguments, call.options), self._places)
            found = tensors([call.operation(*arguments, **options)])
            self._places |= {id(x): y for x, y in zip(call.results, found, strict=True)}
        elif call.operation in _EMPTY:
            self._places |= {id(x): self._memory.allocated(x) for x in call.results}
        elif not call.is_view and (form := _writing(call.operation)) is not None:
            self._places |= {id(x): self._memory.allocated(x) for x in call.results}
            outputs = [argument.name for argument in form._schema.arguments if argument.is_out]
            into = [f"{name}={self.name(x)}" for name, x in zip(outputs, call.results, strict=True)]
            yield self._text(call, form, *into)
        else:
            for x in call.results:
                self._places[id(x)] = f"v{self._variables}"
                self._variables += 1
            first = "[0]" if isinstance(call.result, list) and len(call.result) == 1 else ""
            yield f"{', '.join(map(self.name, call.results))} = {self._text(call, call.operation)}{first}"

    def _text(self, call: Call, form: Any, *outputs: str) -> str:
        """The call, in this form of the operation, which may take fewer arguments."""
        given = dict(zip((a.name for a in call.operation._schema.arguments), call.arguments, strict=False))
        given |= call.options
        texts = []
        for argument in form._schema.arguments:
            if argument.name in given:
                text = self._literal(given[argument.name])
                if str(argument.type) == "List[Optional[Tensor]]":
                    text = f"torch.jit.annotate(List[Optional[Tensor]], {text})"
                texts.append(f"{argument.name}={text}" if argument.kwarg_only else text)
        return f"torch.ops.{form._schema.name.replace('::', '.')}({', '.join([*texts, *outputs])})"

    def _literal(self, value: Any) -> str:
        if isinstance(value, Tensor):
            return self.name(value)
        if isinstance(value, tuple | list):
            return f"[{', '.join(map(self._literal, value))}]"
        if isinstance(value, float) and not math.isfinite(value):
            return f'float("{value}")'
        if isinstance(value, torch.device):
            return f'torch.device("{value}")'
        if isinstance(value, torch.dtype | torch.layout | torch.memory_format):
            return str(value)
        if value == -(2**63):  # without its sign, too large for TorchScript
            return f"({value + 1} - 1)"
        if value is None or isinstance(value, bool | int | float | str):
            return repr(value)
        raise UnrecordableError(f"{type(value).__name__} cannot be written down")


class _Memory:
    """Memory for results, used again after the last use of the result before."""

    def __init__(self, calls: Sequence[Call], wanted: Sequence[Tensor]) -> None:
        self._owners: dict[int, int] = {}  # by the id of a view, that of the tensor whose memory it shows
        self._last: dict[int, Call | None] = {}  # of an owner's memory: the last call that uses it
        self._storages: dict[int, torch.UntypedStorage] = {}
        self._free: dict[int, list[torch.UntypedStorage]] = defaultdict(list)  # by size
        for call in calls:
            if call.is_view and call.given:
                self._owners |= {id(x): self._owner(call.given[0]) for x in call.results}
            self._last |= {self._owner(x): call for x in (*call.given, *call.results)}
        self._last |= {self._owner(x): None for x in wanted}

    def allocated(self, like: Tensor) -> Tensor:
        """A tensor with the shape and strides of a result, for that result."""
        length = sum((n - 1) * stride for n, stride in zip(like.shape, like.stride(), strict=True)) + 1
        size = length * like.element_size() if like.numel() else 0
        storage = self._free[size].pop() if self._free[size] else torch.UntypedStorage(size)
        self._storages[id(like)] = storage
        return torch.empty(0, dtype=like.dtype).set_(storage, 0, like.shape, like.stride())

    def reclaim(self, call: Call) -> None:
        """Offer later results the memory that is not used after this call."""
        for owner in {self._owner(x) for x in (*call.given, *call.results)}:
            if self._last[owner] is call and (storage := self._storages.pop(owner, None)) is not None:
                self._free[storage.nbytes()].append(storage)

    def _owner(self, tensor: Tensor) -> int:
        return self._owners.get(id(tensor), id(tensor))


def _writing(operation: Any) -> Any:
    """The form of an operation that writes its results to memory that it is given, if there is a kernel for it."""
    needed = {(a.name, str(a.type)) for a in operation._schema.arguments if a.name not in _CREATION}
    packet = operation._overloadpacket
    for form in (getattr(packet, name) for name in packet.overloads()):
        arguments = form._schema.arguments
        taken = {(a.name, str(a.type)) for a in arguments if not a.is_out}
        if needed <= taken and len(taken) < len(arguments) and form.has_kernel_for_dispatch_key(DispatchKey.CPU):
            return form
    return None


def _replaced(value: Any, by: dict[int, Any]) -> Any:
    """The value with the tensors that stay in place of recorded ones."""
    if isinstance(value, Tensor):
        return by[id(value)]
    if isinstance(value, tuple | list):
        return type(value)([_replaced(x, by) for x in value])
    if isinstance(value, dict):
        return {key: _replaced(x, by) for key, x in value.items()}
    return value
