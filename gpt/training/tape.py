"""A tape: the operations of PyTorch that a function of tensors starts, forward and backward."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten


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

    @property
    def is_random(self) -> bool:
        """Whether it draws random numbers."""
        return torch.Tag.nondeterministic_seeded in self.operation.tags


class _Recording:
    """What `Tape` does with each operation; in a class of its own, as in gpt/training/operations.py."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        del types
        result = func(*args, **(kwargs or {}))
        self.calls.append(Call(func, args, kwargs or {}, result))
        return result


class Tape(_Recording, TorchDispatchMode):
    """A context that records the operations in it as `calls`, and keeps all their tensors."""


def tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among values, and in lists and tuples among them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from tensors(value)
