"""The branches of a stage's blocks, such as attention and feed-forward, as its forward pass calls them.

A branch is a module of a block that has modules of its own, whatever its class. Modules that the block calls before and
after it, such as a norm or dropout, belong to it. It adds to its input, unless the next module reads exactly what it
returned.
"""

import copy
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

_BESIDE = {"embedding", "norm", "lm_head"}  # modules of a stage without blocks that are in no branch


class Call(NamedTuple):
    """A call of a module: its path, the tensor that it read, and what it returned."""

    path: str
    read: Any
    returned: Any


@dataclass
class Branch:
    """A branch of a block, and the modules that are called before and after it, by their names in the block."""

    name: str
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    adds: bool = False  # whether it adds to its input, rather than replacing it
    following: str = ""  # the module that reads the stream after this branch; "" if the block returns it


def blocks(model: nn.Module) -> dict[str, nn.Module]:
    """The blocks of a stage by their paths, "blocks.0." and so on; a stage without blocks is one block, ""."""
    stacked = getattr(model, "blocks", None)
    return {"": model} if stacked is None else {f"blocks.{name}.": block for name, block in stacked.named_children()}


def calls_of(module: nn.Module, x: Tensor) -> list[Call]:
    """The calls of all modules in a forward pass of x, in the order in which they return."""
    calls: list[Call] = []
    observed = shallow_clone(module).eval()
    for path, inner in observed.named_modules():
        inner.register_forward_hook(partial(_keep, calls, path))
    with torch.no_grad():
        observed(x)
    return calls


def _keep(calls: list[Call], path: str, _: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
    calls.append(Call(path, inputs[0], output))


def branches(block: nn.Module, calls: list[Call]) -> list[Branch]:
    """The branches of a block in their order; `calls`: from `calls_of` the block."""
    mains = {name for name, child in block.named_children() if any(child.children())} - _BESIDE
    names = dict(block.named_children())
    own = [call for call in calls if call.path in names]
    returned = next((call.returned for call in calls if call.path == ""), None)
    found, before = [], list[str]()
    for call, following in zip(own, [*own[1:], Call("", returned, None)], strict=True):
        name = call.path
        if name in _BESIDE:
            continue
        if name in mains:
            found.append(Branch(name, before))
            before = []
        elif not found or any(name.startswith(f"{main}_") for main in mains):
            before.append(name)
            continue
        else:
            found[-1].after.append(name)
        found[-1].adds |= following.read is not call.returned
        found[-1].following = following.path
    return found


def all_branches(model: nn.Module) -> dict[str, Branch]:
    """The branches of all blocks of a stage, by their paths."""
    weight, C = next(model.parameters()), cast(Any, model).lm_head.in_features
    found: dict[str, Branch] = {}
    for path, block in blocks(model).items():
        x = weight.new_zeros(1, 1, C) if path else weight.new_zeros(1, 1, dtype=torch.int64)
        found |= {path + branch.name: branch for branch in branches(block, calls_of(block, x))}
    return found


def units_of(block: nn.Module, name: str) -> tuple[list[str], str]:
    """The names of the modules in a branch other than attention, then of the projection at its end, or ""."""
    leaves = {f"{name}.{inner}": module for inner, module in block.get_submodule(name).named_modules() if inner}
    leaves = {path: module for path, module in leaves.items() if not any(module.children())}
    linear = [path for path, module in leaves.items() if isinstance(module, nn.Linear)]
    projection = linear[-1] if len(linear) > 1 and linear[-1] == [*leaves][-1] else ""
    return [path for path in leaves if path != projection], projection


def shallow_clone(module: nn.Module) -> nn.Module:
    """A copy of a module with the same weights, but its own hooks."""
    made = copy.copy(module)
    made._modules = {name: child and shallow_clone(child) for name, child in module._modules.items()}
    made._forward_hooks, made._forward_pre_hooks = OrderedDict(), OrderedDict()
    return made
