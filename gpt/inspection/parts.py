"""The inside of a stage, from outside: the values of its forward pass by name, and the stage with parts turned off.

Both work on a copy that shares the stage's weights, so that the stage may be in use elsewhere. A part has the name of
its module: "blocks.0.attention" is `model.blocks[0].attention`, and "blocks.0.attention.2" its third head.
"""

import re
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from gpt.base.ladder import introduced_by
from gpt.inspection.branches import Branch, Call, all_branches, blocks, shallow_clone, units_of
from gpt.models.rotary import RotaryPositions

_AROUND = ("embedding.token", "expected", "trust", "norm")


def can_be_opened(model: nn.Module) -> bool:
    """Whether `Inside` knows the stage: the ladder's, whose modules are gpt/models/v*.py, if its blocks attend."""
    if introduced_by(type(model).__module__) is None:
        return False
    return hasattr(model, "table") or all(hasattr(block, "attention") for block in blocks(model).values())


class Inside(nn.Module):
    """The values of a stage's forward pass for one token of each window, by these names.

    embedding.token, embedding.position   (C) each, where a stage has them
    *.attention_norm, *_shift, ...        (C), the output of this module
    *.attention.q, .heads                 (H, D): the query, and what each head reads
    *.attention.k, .v                     (H, T, D), of every token of the window
    *.attention.scores, .weights          (H, T): q k^T, neither scaled nor masked; and its masked softmax
    *.attention, *.feed_forward           (C), the output of a branch
    *.feed_forward.0, .1                  of a branch without heads, the hidden units: before and after the activation
    expected, trust                       what v9's counts add to the stream, and the weight of each order
    stream.*                              (C): what the next module reads, after the embedding, the counts, each branch
    lens.*                                (V): the same, read by the output layer as if nothing came after it
    logits                                (V)
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = shallow_clone(model)
        self._seen = _Seen()
        for name, module in self.model.named_modules():
            module.register_forward_pre_hook(partial(self._seen.begin, name))
            module.register_forward_hook(partial(self._seen.end, name))
        self._channels = getattr(getattr(model, "lm_head", None), "in_features", 0)
        self._branches: dict[str, str] = {}  # by path: the module that reads the stream after it
        self._shown = {*_AROUND}
        some = torch.zeros(1, dtype=torch.int64, device=next(model.parameters()).device)
        for path, branch in all_branches(model).items() if hasattr(model, "lm_head") else ():
            block = path.removesuffix(branch.name)
            self._branches[path] = f"{block}{branch.following}".removesuffix(".")
            units = () if branch.name == "attention" else units_of(blocks(model)[block], branch.name)[0]
            self._shown.update(block + name for name in (*branch.before, branch.name, *units))
        with torch.no_grad(), self._seen:
            self.model(some.new_zeros(2, 1))
        for call in self._seen.calls:  # a recurrence may compute (T, B, C)
            if call.path in self._shown and call.returned.shape[:2] != (2, 1):
                self._shown.remove(call.path)
        with torch.no_grad():
            self.names = tuple(self.values(some[None], some))

    def forward(self, idx: Tensor, row: Tensor) -> tuple[Tensor, ...]:
        """idx: (B, T) int64 token ids, row: (1,) int64, the token's place in the window -> (B, ...) each."""
        return tuple(self.values(idx, row).values())

    def values(self, idx: Tensor, row: Tensor) -> dict[str, Tensor]:
        """The values by name."""
        seen = self._seen
        seen.calls, seen.attended = [], {}
        with seen:
            logits = self.model(idx)  # (B, T, V)
        at = partial(torch.index_select, dim=1, index=row)
        found = {call.path: at(call.returned)[:, 0] for call in seen.calls if call.path in self._shown}
        if "embedding.position" in dict(self.model.named_modules()):
            position = cast(nn.Embedding, self.model.get_submodule("embedding.position"))
            found["embedding.position"] = position.weight[row].expand(idx.shape[0], -1)  # (B, C)
        for name, attended in seen.attended.items():
            found |= {f"{name}.{key}": x for key, x in _attention(attended, row).items()}
        stream = {name: at(x)[:, 0] for name, x in self._stream(seen.calls).items()}
        lens = {name: self._logits(x) for name, x in stream.items() if x.shape[-1] == self._channels}
        found |= {f"stream.{name}": x for name, x in stream.items()} | {f"lens.{name}": x for name, x in lens.items()}
        return found | {"logits": at(logits)[:, 0]}

    def _stream(self, calls: list[Call]) -> dict[str, Tensor]:
        """What the next module reads after the embedding, the counts and each branch: (B, T, C) each."""
        read, returned = {call.path: call.read for call in calls}, {call.path: call.returned for call in calls}
        stream = {"embedding": returned["embedding"]} if "embedding" in returned else {}
        if "expected" in returned:
            stream["expected"] = read["blocks"]
        return stream | {
            path: (returned if path.startswith(f"{following}.") else read)[following]
            for path, following in self._branches.items()
        }

    def _logits(self, x: Tensor) -> Tensor:
        """The output layer alone, and the norm before it: (..., C) -> (..., V)."""
        norm, lm_head = (getattr(self.model, name, nn.Identity()) for name in ("norm", "lm_head"))
        return cast(Tensor, lm_head(norm(x)))


class _Seen(TorchFunctionMode):
    """The calls of the modules of a stage, and the queries, keys, values and outputs of its heads."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.attended: dict[str, tuple[Tensor, ...]] = {}
        self._inner: list[str] = []  # the modules that are being computed, the innermost last

    def begin(self, name: str, *_: Any) -> None:
        """Before a module."""
        self._inner.append(name)

    def end(self, name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        """After a module."""
        self._inner.pop()
        self.calls.append(Call(name, inputs[0], output))
        if all(hasattr(module, part) for part in ("query", "key", "value")):  # a head that spells out attention
            inner = {call.path: call.returned for call in self.calls}
            parts = [inner[f"{name}.{part}"] for part in ("query", "key", "value")]
            self.attended[name] = tuple(x[:, None] for x in (*parts, output))  # (B, 1, T, D) each

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is scaled_dot_product_attention:
            self.attended[self._inner[-1]] = (*args[:3], result)
        return result


def _attention(attended: tuple[Tensor, ...], row: Tensor) -> dict[str, Tensor]:
    """The steps of causal attention for one query; q, k, v and the heads' outputs are (B, H, T, D) each."""
    q, k, v, heads = attended
    q, heads = (x.index_select(2, row) for x in (q, heads))  # (B, H, 1, D)
    scores = (q @ k.transpose(-2, -1))[:, :, 0]  # (B, H, T)
    is_future = torch.arange(k.shape[2], device=row.device) > row
    weights = (scores * k.shape[-1] ** -0.5).masked_fill(is_future, float("-inf")).softmax(dim=-1)
    return {"q": q[:, :, 0], "k": k, "v": v, "scores": scores, "weights": weights, "heads": heads[:, :, 0]}


class Switched(nn.Module):
    """A stage whose parts can be turned off; `parts` has their names, from the function `parts`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = shallow_clone(model)
        self.parts = parts(model)
        self._on: dict[str, Tensor] = {}  # by part: (), bool
        self._adding = _adding(model)
        for name, module in self.model.named_modules():
            self._connect(name, module)
        for path, branch in self._adding.items():
            self._connect_plus(path, branch)

    def forward(self, idx: Tensor, on: Tensor) -> Tensor:
        """idx: (B, T) int64 token ids, on: bool, one for each part -> logits (B, T, V)."""
        self._on.update(zip(self.parts, on.unbind(), strict=True))
        try:
            return cast(Tensor, self.model(idx))
        finally:
            self._on.clear()

    def without(self, off: Collection[str]) -> Callable[[Tensor], Tensor]:
        """The stage with these parts turned off, as a function of (B, T) token ids."""
        device = next(self.model.parameters()).device
        on = torch.tensor([part not in off for part in self.parts], dtype=torch.bool, device=device)
        return lambda idx: self(idx, on)

    def _connect(self, name: str, module: nn.Module) -> None:
        if name.split(".")[-1] == "attention":
            if hasattr(module, "projection"):
                cast(nn.Module, module.projection).register_forward_pre_hook(lambda _, x: self._heads(name, x[0]))
            else:
                module.register_forward_hook(lambda _, __, output: self._heads(name, output))
        elif name == "embedding.position":
            embedding = self.model.get_submodule("embedding")
            embedding.register_forward_hook(lambda module, x, output: self._kept("positions", output, module.token(*x)))
        elif isinstance(module, RotaryPositions):
            kept = partial(self._kept, "positions")
            module.register_forward_hook(lambda _, qk, rotated: tuple(map(kept, rotated, qk)))
        elif name in ("expected", "trust"):
            module.register_forward_hook(lambda _, __, output: self._kept("counts", output, output * 0))
        elif name in self.parts:
            adds = name in self._adding  # another part passes its input on
            module.register_forward_hook(lambda _, x, output: self._kept(name, output, output * 0 if adds else x[0]))

    def _connect_plus(self, path: str, branch: Branch) -> None:
        """Make the block add y - x to its x, instead of y, where the plus sign of a branch is off."""
        block, read = path.removesuffix(branch.name), list[Tensor]()
        first = self.model.get_submodule(block + [*branch.before, branch.name][0])
        first.register_forward_pre_hook(lambda _, x: read.append(x[0]))
        part = f"{block}plus.{branch.name}"
        self.model.get_submodule(path).register_forward_hook(lambda _, __, y: self._kept(part, y, y - read.pop()))

    def _kept(self, part: str, output: Tensor, instead: Tensor) -> Tensor:
        return torch.where(self._on[part], output, instead)

    def _heads(self, name: str, y: Tensor) -> Tensor:
        """y: (B, T, C), the heads' outputs side by side -> (B, T, C)."""
        on = torch.stack([self._on[part] for part in self.parts if part.rpartition(".")[0] == name])  # (H)
        return torch.where(on[:, None], y.unflatten(-1, (len(on), -1)), 0).flatten(-2)


def parts(model: nn.Module) -> list[str]:
    """What can be turned off in a stage: "positions", each head ("blocks.0.attention.2"), each feed-forward layer
    ("blocks.0.feed_forward"), each block ("blocks.0"), each plus sign ("blocks.0.plus.attention") and "counts".

    When off, positions have no effect, a block passes on its input, and a head or the counts add zeros. A feed-forward
    layer adds zeros to a residual connection or, without one, passes on its input. Without its plus sign, a branch
    replaces its input.
    """
    modules = dict(model.named_modules())
    has_positions = any(re.search(r"embedding\.position$|attention\.positions$", name) for name in modules)
    found = ["positions"] if has_positions else []
    for name, module in modules.items():
        last = name.split(".")[-1]
        if last == "attention":
            found += [f"{name}.{head}" for head in range(cast(int, getattr(module, "n_head", 1)))]
        elif last == "feed_forward" or re.fullmatch(r"blocks\.\d+", name):
            found.append(name)
    found += [re.sub(r"(\w+)$", r"plus.\1", path) for path in _adding(model)]
    return [*found, "counts"] if "trust" in modules else found


def _adding(model: nn.Module) -> dict[str, Branch]:
    """The branches of a stage's blocks that add to their input, by their paths."""
    has_blocks = any(name.endswith("feed_forward") for name, _ in model.named_modules())
    return {path: branch for path, branch in all_branches(model).items() if branch.adds} if has_blocks else {}


def heads(model: nn.Module) -> list[str]:
    """The heads among the parts of a stage."""
    return [part for part in parts(model) if re.search(r"attention\.\d+$", part)]


def switches(model: nn.Module) -> dict[str, dict[str, list[str]]]:
    """The parts that a switch turns off, by its name, in a row for the whole stage and one for each layer."""
    found = parts(model)
    plus = [part for part in found if "plus." in part]
    rows = {"run": {part: [part] for part in found if part in ("positions", "counts")} | {"every x +": plus}}
    for number, path in enumerate(blocks(model), 1):
        own = [part for part in found if f"{part}.".startswith(path) and part not in rows["run"]]
        heads = [part for part in own if part.startswith(f"{path}attention.")]
        row = {"all of it": [part for part in own if f"{part}." == path]}
        row |= {f"head {head}": [part] for head, part in enumerate(heads, 1) if len(heads) > 1}
        row |= {"all heads" if len(heads) > 1 else "attention": heads}
        row |= {"feed-forward": [part for part in own if part == f"{path}feed_forward"]}
        row |= {f"x + {part.rpartition('.')[2].replace('_', '-')}": [part] for part in own if part in plus}
        rows[f"layer {number}" if path else "layer"] = row
    rows = {title: {name: some for name, some in row.items() if some} for title, row in rows.items()}
    return {title: row for title, row in rows.items() if row}
