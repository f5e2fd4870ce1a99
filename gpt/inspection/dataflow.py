"""The way from a window to the prediction of the next token, part by part.

The course and the playground draw their pictures of a stage from it, and the page shows its notes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import nn

from gpt.base.ladder import introduced_by
from gpt.inspection.branches import Branch, blocks, branches, calls_of, units_of
from gpt.models import Stage
from gpt.models.attention import Dropout
from gpt.models.rotary import RotaryPositions
from gpt.models.squared_relu import SquaredReLU
from gpt.models.v8_modern import TokenShift


@dataclass(frozen=True)
class Part:
    """An operation, and the stage of the ladder that introduces it; None for the input and the output."""

    name: str  # of its module, without the block's name
    label: str
    since: str | None
    note: str = ""  # what it does, in a sentence
    code: str = ""


@dataclass(frozen=True)
class Row:
    """Operations that follow one another, from left to right, and the shape of the result."""

    parts: list[Part]
    shape: str = ""
    block: Part | None = None  # the frame around it: all blocks
    branch: str = ""  # the branch of these operations; "" if none
    begins_branch: bool = False  # whether a branch that adds to its input begins here
    sum: Part | None = None  # the sum at the end of such a branch


# The parts that are known by their class: label, stage, note and code.
_KNOWN: dict[type[nn.Module], tuple[str, ...]] = {
    nn.LayerNorm: (
        "LayerNorm",
        "v6",
        "LayerNorm moves its numbers to mean 0 and deviation 1, then scales and shifts each by what it learned.",
    ),
    nn.ReLU: ("ReLU", "v3_ffn", "ReLU sets the others to 0.", "relu(x W + b)"),
    SquaredReLU: ("ReLU²", "v8", "ReLU sets the others to 0, and squares the positive ones.", "relu(x W + b)²"),
    Dropout: ("dropout", "v7", "Dropout would zero some of these numbers while training; here it is off."),
    RotaryPositions: ("rotary positions", "v8", "Query and key are then rotated by their position."),
    TokenShift: ("token shift", "v8"),
}


def dataflow(model: Stage, unit: str = "character") -> list[Row]:
    """The rows of a stage of the ladder, from the window to the probabilities; `unit` is what a token is."""
    T = f"T={model.block_size}"
    if hasattr(model, "lm_head"):
        rows = _network(model, T)
    else:
        V = cast(Any, model).table.embedding_dim
        rows = [Row([Part("table", "table: one row of logits for each", "v1")], f"({T}, V={V})")]
    return [
        Row([Part("window", f"a window of {model.block_size} {unit}s", None)], f"({T})"),
        *rows,
        Row([Part("softmax", "softmax", "v1")], rows[-1].shape),
        Row([Part("probabilities", f"probabilities of the next {unit}", None)]),
    ]


def _network(model: Stage, T: str) -> list[Row]:
    modules: dict[str, Any] = dict(model.named_modules())
    C, V = modules.get("embedding.token", modules["embedding"]).embedding_dim, modules["lm_head"].out_features
    stream = f"({T}, C={C})"

    def present(*parts: Part) -> list[Part]:
        return [part for part in parts if part.name in modules]

    positions = Part("embedding.position", "+ positions", "v2")
    counts = Part("trust", "+ trust · log p of the counts", "v9")
    rows = [
        Row(present(Part("embedding", "embedding", "v2"), positions), stream),
        Row(present(Part("expected", "+ what the counts expect", "v9")), stream),
        *_blocks(model, T, C),
        Row(_parts(model, model, ["norm"]), stream),
        Row(present(Part("lm_head", "output layer", "v2"), counts), f"({T}, V={V})"),
    ]
    return [row for row in rows if row.parts]


def _blocks(model: Stage, T: str, C: int) -> list[Row]:
    """The branches of the first block; before v4, of the stage itself."""
    stacked = blocks(model)
    (path, block), weight = next(iter(stacked.items())), next(model.parameters())
    calls = calls_of(block, weight.new_zeros(1, 1, C) if path else weight.new_zeros(1, 1, dtype=torch.int64))
    frame = Part("blocks", f"{len(stacked)} block{'s' if len(stacked) > 1 else ''}", "v4") if path else None
    rows = [row for branch in branches(block, calls) for row in _branch(model, block, branch, T, C)]
    return [replace(row, block=frame) for row in rows]


def _branch(model: Stage, block: nn.Module, branch: Branch, T: str, C: int) -> list[Row]:
    name, stream = branch.name, f"({T}, C={C})"
    if name == "attention":
        n_head, projection = getattr(block.attention, "n_head", 1), "attention.projection"
        parts = [
            *_parts(model, block, ["attention.positions"]),
            _part(model, block, name, ("attention", "v2")),
            *([Part("attention.heads", f"in {n_head} heads", "v3")] if n_head > 1 else []),
            *_parts(model, block, ["attention.dropout"]),
        ]
        shape = stream if n_head > 1 else f"({T}, D={cast(Any, model).lm_head.in_features})"
    else:
        units, projection = units_of(block, name)
        width = cast(Any, block.get_submodule(projection)).in_features if projection else C
        wider, rest = divmod(width, C)
        wide = [Part(f"{name}.wide", f"{wider} times as wide", "v5")] if wider > 1 and not rest else []
        if isinstance(block.get_submodule(name), nn.Sequential):
            parts = [_part(model, block, units[0], ("feed-forward", "v3_ffn")), *wide]
            parts += _parts(model, block, units[1:])
        else:
            parts = [_part(model, block, name), *wide, *_parts(model, block, units)]
        shape = stream if width == C else f"({T}, {wider if not rest else f'{width / C:.2g}'}C={width})"
    before = Row(_parts(model, block, branch.before), stream)
    projected = [_part(model, block, projection, ("projection", "v5"))] if _exists(block, projection) else []
    after = Row([*projected, *_parts(model, block, branch.after)], stream)
    rows = [replace(row, branch=name) for row in (before, Row(parts, shape), after) if row.parts]
    if branch.adds:
        rows[0] = replace(rows[0], begins_branch=True)
        rows[-1] = replace(rows[-1], sum=Part(f"plus.{name}", "+", "v5"))
    return rows


def _parts(model: Stage, block: nn.Module, names: Iterable[str]) -> list[Part]:
    """The parts of these names that a block has, without dropout of probability 0."""
    present = [name for name in names if _exists(block, name)]
    return [_part(model, block, name) for name in present if getattr(block.get_submodule(name), "p", 1) > 0]


def _exists(block: nn.Module, name: str) -> bool:
    return name != "" and not isinstance(dict(block.named_modules()).get(name, nn.Identity()), nn.Identity)


def _part(model: Stage, block: nn.Module, name: str, known: tuple[str, str] | None = None) -> Part:
    """A part, named by its module's `label`, by its class, or by its place (`known`).

    Any other part is introduced by the stage whose file has its class, the class that it is in, or the model.
    """
    module = block.get_submodule(name)
    own = getattr(module, "label", None)
    if own is None and (found := _KNOWN.get(type(module))):
        return Part(name, *found)
    if own is None and known is not None:
        return Part(name, *known)
    is_torchs = type(module).__module__.startswith("torch.") and not isinstance(module, nn.Linear)
    label = own or (type(module).__name__ if is_torchs else name.rpartition(".")[2].replace("_", " "))
    places = [module, block.get_submodule(name.partition(".")[0]), model]
    stages = [introduced_by(type(place).__module__) for place in places]
    return Part(name, label, next(filter(None, stages), None))
