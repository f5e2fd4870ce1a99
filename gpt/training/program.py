"""A recorded function of tensors, repeated without the Python between its operations.

A program repeats the same kernels in the same order, so its results are the same bit for bit. It is faster because
TorchScript starts the operations instead of Python, and because much is done once: operations that only rename memory
(`view`, `t`) or compute constants are not repeated, and results go to memory that is allocated once. PyTorch has
deprecated TorchScript, whose successors compile for half a minute.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C import DispatchKey

from gpt.training.tape import Call, tensors

_aten = torch.ops.aten
_RENAMING = (_aten.detach.default, _aten.alias.default, _aten.lift_fresh.default)  # not even another shape
_LIKE = (_aten.ones_like.default, _aten.zeros_like.default, _aten.full_like.default)  # values do not matter
_EMPTY = (_aten.empty.memory_format, _aten.empty_like.default, _aten.empty_strided.default)
_CREATION = {"dtype", "layout", "device", "pin_memory"}  # options that memory allocated beforehand already has


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
        self._equal: set[int] = set()  # recorded tensors that are the same in every run

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
            self._equal.add(id(call.given[0]))
        given = [] if call.operation in _LIKE else call.given
        if all(id(x) in self._equal for x in given) and not call.is_random and not self._memory.is_written(call):
            self._equal.update(map(id, call.results))
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
        if (call.is_view and stay) or all(id(x) in self._equal for x in call.results):
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
        self._written: set[int] = set()
        self._last: dict[int, Call | None] = {}  # of an owner's memory: the last call that uses it
        self._storages: dict[int, torch.UntypedStorage] = {}
        self._free: dict[int, list[torch.UntypedStorage]] = defaultdict(list)  # by size
        for call in calls:
            if call.is_view and call.given:
                self._owners |= {id(x): self._owner(call.given[0]) for x in call.results}
            self._written |= {self._owner(x) for x in call.written}
            self._last |= {self._owner(x): call for x in (*call.given, *call.results)}
        self._last |= {self._owner(x): None for x in wanted}

    def is_written(self, call: Call) -> bool:
        """Whether a result is changed in place, now or later."""
        return any(self._owner(x) in self._written for x in call.results)

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
        place = by.get(id(value))
        return place if isinstance(place, Tensor) else value  # whose shape alone matters
    if isinstance(value, tuple | list):
        return type(value)([_replaced(x, by) for x in value])
    if isinstance(value, dict):
        return {key: _replaced(x, by) for key, x in value.items()}
    return value
