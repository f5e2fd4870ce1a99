"""The picture of a stage has all of its parts, and marks as new what its idea is."""

import re
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gpt.base.ladder import LADDER
from gpt.inspection.dataflow import dataflow
from gpt.models.ngrams import NGrams
from tests.inspection.test_parts import built

NEW = {
    "v1": ["table: one row of logits for each", "softmax"],
    "v2": ["embedding", "+ positions", "attention", "output layer"],
    "v3": ["in 4 heads"],
    "v3_ffn": ["feed-forward", "ReLU"],
    "v4": [],  # the blocks
    "v5": ["projection", "4 times as wide", "projection"],
    "v6": ["LayerNorm", "LayerNorm", "LayerNorm"],
    "v7": ["dropout", "dropout", "dropout"],
    "v8": ["token shift", "rotary positions", "token shift", "ReLU²"],
    "v9": ["+ what the counts expect", "+ trust · log p of the counts"],
}  # of any other stage, something
# The modules that do not have a part of their own name.
WITHIN = {"embedding.token": "embedding", "ngrams": "expected", "trust": "trust"} | dict.fromkeys(
    ("attention.query", "attention.key", "attention.value", "attention.qkv"), "attention"
)


def parts_of(model: Any) -> set[str]:
    """The names of the parts that compute something, without that of the block."""
    inside = ("ngrams.", "trust.")  # parts of parts
    names = [
        name
        for name, module in model.named_modules()
        if not name.startswith(inside)
        and (not list(module.children()) or isinstance(module, NGrams) or name == "trust")
        and getattr(module, "p", 1) > 0
    ]
    names = [name.removeprefix("blocks.0.") for name in names if not name.startswith("blocks.") or "blocks.0." in name]
    return {WITHIN.get(name, name) for name in names}


@pytest.mark.parametrize("stage", LADDER)
def test_the_picture_has_every_module_and_marks_new_ones(stage: str) -> None:
    model, seen = built(stage), dict[str, list[int]]()
    rows = dataflow(model)
    drawn = {part.name for row in rows for part in row.parts}
    without_module = {"window", "softmax", "probabilities", "attention.heads", "feed_forward.wide", "feed_forward"}
    assert drawn - without_module == parts_of(model)
    new = [part.label for row in rows for part in row.parts if part.since == stage]
    assert new == NEW[stage] if stage in NEW else new
    known = LADDER[: LADDER.index(stage) + 1]
    assert all(part.since in known for row in rows for part in row.parts if part.since is not None)
    assert any(row.block is not None for row in rows) == ("v4" in known)
    assert any(row.sum is not None for row in rows) == ("v5" in known)
    for name, module in model.named_modules():
        module.register_forward_hook(partial(_keep, seen, name.removeprefix("blocks.0.")))
    model(torch.zeros(1, model.block_size, dtype=torch.int64))
    for row in rows:
        computed = [seen[part.name] for part in row.parts if part.name in seen]
        # Not modules are the window, softmax and what comes of it.
        assert bool(computed) == (row not in (rows[0], *rows[-2:])), row
        if computed and row.parts[-1].name != "trust":  # which has a weight for each order
            assert [int(size) for size in re.findall(r"=(\d+)", row.shape)] == computed[-1], row


def _keep(seen: dict[str, list[int]], name: str, _: nn.Module, __: Any, output: Any) -> None:
    if isinstance(output, Tensor):
        seen[name] = list(output.shape[1:])
