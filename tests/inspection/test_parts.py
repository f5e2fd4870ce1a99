"""The inside of a stage: the values of its forward pass, and the same pass with parts turned off."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gpt.base.ladder import LADDER, OTHERS
from gpt.inspection.attention_weights import AttentionWeights
from gpt.inspection.parts import Inside, Switched, can_be_opened, heads, parts
from gpt.models.squared_relu import SquaredReLU
from tests.conftest import build_small

ROW = 5
IDX = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6], [5, 3, 5, 8, 9, 7, 9, 3]])


def built(stage: str) -> Any:
    if not stage.startswith("v9"):
        return build_small(stage)
    model: Any = build_small(stage, memory=200, ngrams=3)
    model.remember(torch.arange(200) % 11)
    return model


def values(model: nn.Module, row: int = ROW) -> dict[str, Tensor]:
    with torch.no_grad():
        return Inside(model).values(IDX, torch.tensor([row]))


@pytest.mark.parametrize("stage", LADDER)
def test_each_value_follows_from_those_before_it(stage: str) -> None:
    model = built(stage)
    found = values(model)
    with torch.no_grad(), AttentionWeights() as observed:
        logits = model(IDX)
    assert torch.equal(found["logits"], logits[:, ROW])
    attentions = [name.removesuffix(".q") for name in found if name.endswith(".q")]
    assert len(attentions) == len(observed.weights)
    for name, weights in zip(attentions, observed.weights, strict=True):
        q, k, v, scores, mine, read = (found[f"{name}.{x}"] for x in ("q", "k", "v", "scores", "weights", "heads"))
        assert mine.allclose(weights[:, :, ROW], atol=1e-6)
        assert scores.allclose((q[:, :, None] * k).sum(-1), atol=1e-5)
        allowed = (scores / q.shape[-1] ** 0.5)[..., : ROW + 1]
        assert mine[..., : ROW + 1].allclose(allowed.softmax(-1), atol=1e-6)
        assert not mine[..., ROW + 1 :].any()
        assert read.allclose((mine[..., None] * v).sum(-2), atol=1e-5)
        module = model.get_submodule(name)
        mixed = module.projection(read.flatten(1)) if hasattr(module, "projection") else read.flatten(1)
        assert mixed.allclose(found[name], atol=1e-5)
        feed_forward = name.replace("attention", "feed_forward")
        if f"{feed_forward}.1" in found:
            before, after = found[f"{feed_forward}.0"], found[f"{feed_forward}.1"]
            squared = isinstance(model.get_submodule(f"{feed_forward}.1"), SquaredReLU)
            assert torch.equal(before.relu() ** (2 if squared else 1), after)
    if stage == "v1":
        return
    branches = [name for name in found if re.fullmatch(r"(blocks\.\d+\.)?(attention|feed_forward)", name)]
    stream = found["stream.embedding"] + found.get("expected", 0)
    for name in branches:  # what the branches add, or replace it by
        stream = found[name] + (stream if LADDER.index(stage) >= LADDER.index("v5") else 0)
        assert found[f"stream.{name}"].allclose(stream, atol=1e-4)
    embedded = found.get("embedding.token", found["stream.embedding"]) + found.get("embedding.position", 0)
    assert found["stream.embedding"].allclose(embedded, atol=1e-6)
    last = [name for name in found if name.startswith("lens.")][-1]
    assert found[last].allclose(logits[:, ROW], atol=1e-5) != (stage == "v9")  # whose counts come on top


@pytest.mark.parametrize("stage", ["v6", "v9_with_recurrences"])
def test_a_token_has_the_same_values_whatever_follows_it(stage: str) -> None:
    model = built(stage)
    with torch.no_grad():
        alone = Inside(model).values(IDX[:, : ROW + 1], torch.tensor([ROW]))
    for name, value in values(model).items():
        followed = value[..., : ROW + 1] if "scores" in name or "weights" in name else value
        followed = value[:, :, : ROW + 1] if name.endswith((".k", ".v")) else followed
        assert followed.allclose(alone[name], atol=1e-5), name


def _zero(*tensors: Tensor) -> None:
    for tensor in tensors:
        nn.init.zeros_(tensor)


def _unrotate(model: Any) -> None:
    for block in model.blocks:
        block.attention.positions.forward = lambda *qk: qk


def _without_first_plus(model: Any) -> None:
    block = model.blocks[0]
    block.forward = lambda x: block.feed_forward(y := block.attention(x)) + y


def _without_last_plus(model: Any) -> None:
    block = model.blocks[1]
    forward, returned = block.forward, list[Tensor]()
    block.feed_forward.register_forward_hook(lambda _, __, y: returned.append(y))
    block.forward = lambda x: (forward(x), returned.pop())[1]


@pytest.mark.parametrize(
    ("stage", "part", "operate"),
    [
        ("v2", "attention.0", lambda model: _zero(model.attention.value.weight)),
        ("v3", "attention.3", lambda model: _zero(model.attention.qkv.weight[88:])),
        ("v3_ffn", "feed_forward", lambda model: setattr(model, "feed_forward", nn.Identity())),
        ("v6", "positions", lambda model: _zero(model.embedding.position.weight)),
        ("v7", "blocks.1.attention.2", lambda model: _zero(model.blocks[1].attention.projection.weight[:, 16:24])),
        ("v8", "positions", _unrotate),
        ("v8", "blocks.1.feed_forward", lambda model: _zero(*model.blocks[1].feed_forward[2].parameters())),
        ("v5", "blocks.0", lambda model: model.blocks.__setitem__(0, nn.Identity())),
        ("v5", "blocks.0.plus.attention", _without_first_plus),
        ("v8", "blocks.1.plus.feed_forward", _without_last_plus),
        ("v4", "blocks.0", lambda model: model.blocks.__setitem__(0, nn.Identity())),
        ("v9", "counts", lambda model: _zero(model.expected.weight, *model.trust.weights.parameters())),
    ],
)
def test_a_part_that_is_off_is_as_if_taken_out(stage: str, part: str, operate: Callable[[Any], None]) -> None:
    model = built(stage)
    with torch.no_grad():
        before = model(IDX)
        switched = Switched(model)
        found = switched.without([part])(IDX)
        assert torch.equal(switched.without([])(IDX), before)
        assert torch.equal(model(IDX), before)  # the stage itself is as it was
        operate(model)
        assert found.allclose(model(IDX), atol=1e-5)
        assert not found.allclose(before, atol=1e-4)


def test_every_part_has_a_name_and_an_effect() -> None:
    assert parts(built("v1")) == []
    assert parts(built("v3_ffn")) == ["positions", *(f"attention.{head}" for head in range(4)), "feed_forward"]
    assert parts(built("v9"))[-1] == "counts"
    assert heads(built("v6"))[-1] == "blocks.2.attention.3"
    for stage in (*LADDER, *OTHERS):
        model = built(stage)
        assert can_be_opened(model) == (stage in LADDER)
        with torch.no_grad():
            before = model(IDX)
            for part in parts(model):
                assert not torch.equal(Switched(model).without([part])(IDX), before), (stage, part)
