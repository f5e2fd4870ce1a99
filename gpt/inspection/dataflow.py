"""The way from a window to the prediction of the next token, part by part: what a picture of a stage shows.

The course and the playground draw the same picture from it.
"""

from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from gpt.models import block_size_of


@dataclass(frozen=True)
class Part:
    """An operation, and the stage of the ladder that introduces it; None for what goes in and comes out."""

    name: str  # of its module, without that of the block
    label: str
    since: str | None


@dataclass(frozen=True)
class Row:
    """Operations that follow one another, from left to right, and the shape of the result."""

    parts: list[Part]
    shape: str = ""
    in_block: bool = False
    begins_branch: bool = False
    ends_branch: bool = False  # here, what the branch has read is added to what it hands on


def dataflow(model: nn.Module, unit: str = "character") -> list[Row]:
    """The rows of a stage of the ladder, from the window to the probabilities; `unit` is what a token is."""
    modules: dict[str, Any] = dict(model.named_modules())
    T = f"T={block_size_of(model)}"
    rows = _network(modules, T) if "lm_head" in modules else _table(modules["table"], T)
    return [
        Row([Part("window", f"a window of {block_size_of(model)} {unit}s", None)], f"({T})"),
        *rows,
        Row([Part("softmax", "softmax", "v1")], rows[-1].shape),
        Row([Part("probabilities", f"probabilities of the next {unit}", None)]),
    ]


def _table(table: nn.Embedding, T: str) -> list[Row]:
    return [Row([Part("table", "table: one row of logits for each", "v1")], f"({T}, V={table.embedding_dim})")]


def _network(modules: dict[str, Any], T: str) -> list[Row]:
    token = modules.get("embedding.token", modules["embedding"])
    stream, V = f"({T}, C={token.embedding_dim})", modules["lm_head"].out_features
    positions = Part("embedding.position", "+ positions", "v2")
    counts = Part("trust", "+ trust · log p of the counts", "v9")
    rows = [
        Row(_present(modules, Part("embedding", "embedding", "v2"), positions), stream),
        Row(_present(modules, Part("expected", "+ what the counts expect", "v9")), stream),
        *_block(modules, T, stream),
        Row(_present(modules, Part("norm", "LayerNorm", "v6")), stream),
        Row(_present(modules, Part("lm_head", "output layer", "v2"), counts), f"({T}, V={V})"),
    ]
    return [row for row in rows if row.parts]


def _block(modules: dict[str, Any], T: str, stream: str) -> list[Row]:
    """Attention and the feed-forward layer of the first block; before v4, of the stage itself."""
    prefix = "blocks.0." if "blocks.0" in modules else ""
    inner = {name.removeprefix(prefix): module for name, module in modules.items() if name.startswith(prefix)}
    n_head = getattr(inner["attention"], "n_head", 1)
    attention = [
        *_present(inner, Part("attention.positions", "rotary positions", "v8"), Part("attention", "attention", "v2")),
        *([Part("attention.heads", f"in {n_head} heads", "v3")] if n_head > 1 else []),
        *_present(inner, Part("attention.dropout", "dropout", "v7")),
    ]
    read = stream if n_head > 1 else f"({T}, D={modules['lm_head'].in_features})"
    rows = _branch(inner, "attention", Row(attention, read), "attention.projection", stream)
    if "feed_forward" in inner:
        hidden, is_relu = inner["feed_forward.0"], isinstance(inner["feed_forward.1"], nn.ReLU)
        wider = hidden.out_features // hidden.in_features
        feed_forward = [
            Part("feed_forward.0", "feed-forward", "v3_ffn"),
            *([Part("feed_forward.wide", f"{wider} times as wide", "v5")] if wider > 1 else []),
            Part("feed_forward.1", *(("ReLU", "v3_ffn") if is_relu else ("ReLU²", "v8"))),
        ]
        units = f"({T}, {wider}C={hidden.out_features})" if wider > 1 else stream
        rows += _branch(inner, "feed_forward", Row(feed_forward, units), "feed_forward.2", stream)
    return [replace(row, in_block=bool(prefix)) for row in rows]


def _branch(inner: dict[str, Any], name: str, row: Row, projection: str, stream: str) -> list[Row]:
    """A row with what comes before and after it. A branch that has a projection, from v5 on, adds to its input."""
    before = _present(inner, Part(f"{name}_norm", "LayerNorm", "v6"), Part(f"{name}_shift", "token shift", "v8"))
    after = _present(inner, Part(projection, "projection", "v5"), Part("dropout", "dropout", "v7"))
    rows = [*([Row(before, stream)] if before else []), row, *([Row(after, stream)] if after else [])]
    if after:
        rows[0], rows[-1] = replace(rows[0], begins_branch=True), replace(rows[-1], ends_branch=True)
    return rows


def _present(modules: dict[str, Any], *parts: Part) -> list[Part]:
    """The parts that a stage has. Dropout with a probability of 0 does nothing, and is left out."""
    return [part for part in parts if part.name in modules and getattr(modules[part.name], "p", 1) > 0]
