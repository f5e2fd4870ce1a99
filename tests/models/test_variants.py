"""Twins of stages: each is a stage but for one idea."""

import pytest
import torch
from torch import nn

from gpt.models.squared_relu import SquaredReLU
from gpt.models.v8_modern import TokenShift
from gpt.models.variants.v8 import NormalisedAttention
from tests.conftest import REPOSITORY, build, build_small, stage_config
from tests.extras import require_extra

TWINS = sorted(path.stem for path in (REPOSITORY / "conf" / "model").glob("v8_with*_*.yaml"))
IDX = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6], [5, 3, 5, 8, 9, 7, 9, 3]])


@torch.no_grad()
@pytest.mark.parametrize("stage", ["v5", "v6"])
def test_without_residuals_a_stage_is_its_branches_alone(stage: str) -> None:
    full, without = build(stage), build(f"{stage}_without_residuals")
    torch.testing.assert_close(dict(without.state_dict()), dict(full.state_dict()), atol=0, rtol=0)
    x = full.embedding(IDX)
    for block in full.blocks:
        for branch in ("attention", "feed_forward"):
            norm = getattr(block, f"{branch}_norm", nn.Identity())
            x = getattr(block, branch)(norm(x))
    torch.testing.assert_close(without(IDX), full.lm_head(getattr(full, "norm", nn.Identity())(x)))
    assert not torch.allclose(without(IDX), full(IDX))


@torch.no_grad()
def test_v2_without_scaling_is_v2_with_larger_queries() -> None:
    full, without = build("v2"), build("v2_without_scaling")
    assert not torch.allclose(without(IDX), full(IDX))
    without.attention.query.weight.div_(4)  # the square root of the head size
    torch.testing.assert_close(without(IDX), full(IDX))


def test_v6_without_a_part_is_v6_with_that_part_zero() -> None:
    for part in ("positions", "attention", "feed_forward"):
        full, without = build("v6"), build(f"v6_without_{part}", seed=1)
        assert stage_config(f"v6_without_{part}").training == stage_config("v6").training
        state = full.state_dict()
        for name in [name for name in state if part.removesuffix("s") in name]:
            state.pop(name).zero_()
        if part == "positions":
            state["embedding.weight"] = state.pop("embedding.token.weight")
        without.load_state_dict(state)
        torch.testing.assert_close(without(IDX), full(IDX))


def test_v6_with_one_head_has_the_parameters_of_v6() -> None:
    one = build("v6_with_one_head")
    torch.testing.assert_close(dict(one.state_dict()), dict(build("v6").state_dict()), atol=0, rtol=0)
    assert [block.attention.n_head for block in one.blocks] == [1, 1, 1]


@torch.no_grad()
def test_v3_and_v4_with_residuals_add_what_branches_write() -> None:
    for stage, name in (("v3", "v3_with_direct_path"), ("v4", "v4_with_residuals")):
        plain, model = build(stage), build(name, seed=1)
        plain.load_state_dict(model.state_dict())
        x = plain.embedding(IDX)
        for block in getattr(plain, "blocks", [plain]):
            for branch in ("attention", "feed_forward")[: 1 if stage == "v3" else 2]:
                x = x + getattr(block, branch)(x)
        torch.testing.assert_close(model(IDX), plain.lm_head(x))


def test_scaled_first_weights_keep_the_scale() -> None:
    scaled, x = build("v4_with_scaled_init"), torch.randn(1000, 32)
    for block in scaled.blocks:
        assert block.attention.qkv(x).std().item() == pytest.approx(1, abs=0.1)
        assert block.feed_forward(x).square().mean().item() == pytest.approx(1, abs=0.2)


def test_the_page_draws_scaled_first_weights_alike() -> None:
    require_extra("onnx")
    from gpt.exporting.training_graphs import drawing

    scaled = build("v4_with_scaled_init")
    for name, drawn in drawing(scaled).items():
        assert drawn["drawn"] == "normal" or 0.8 < scaled.get_parameter(name).abs().max() / drawn["scale"] <= 1, name


@pytest.mark.parametrize("twin", TWINS)
def test_a_twin_differs_from_v8_in_one_thing(twin: str) -> None:
    v8, changed = stage_config("v8"), stage_config(twin)
    assert (changed.training, changed.defaults) == (v8.training, ["v8", "_self_"])
    assert dict(changed.model) | {"_target_": v8.model["_target_"]} == dict(v8.model)
    full, model = build_small("v8"), build_small(twin)
    for name, tensor in model.state_dict().items():  # the same weights, but for those of the idea
        if name in full.state_dict() and tensor.shape == full.state_dict()[name].shape:
            tensor.copy_(full.state_dict()[name])
    if twin == "v8_with_zero_init":
        assert torch.equal(model(IDX), full(IDX))
    else:
        assert not torch.allclose(model(IDX), full(IDX), atol=1e-3)


def test_an_idea_distinguishes_a_twin_from_v8() -> None:
    for twin, *kinds in (
        ("v8_without_token_shift", TokenShift),
        ("v8_without_squared_relu", SquaredReLU),
        ("v8_with_qk_norm", NormalisedAttention),
        ("v8_with_rms_norm", nn.RMSNorm, nn.LayerNorm),
    ):
        in_v8, in_twin = ({type(module) for module in build_small(stage).modules()} for stage in ("v8", twin))
        assert all((kind in in_v8) != (kind in in_twin) for kind in kinds), twin


def test_with_zero_initialisation_blocks_are_the_identity_and_logits_equal() -> None:
    small = {"block_size": 16, "n_embd": 32, "n_head": 4, "n_layer": 2}
    x = torch.randn(2, 16, 32)
    for stage, is_zero in (("v8", False), ("v8_with_zero_init", True)):
        model = build(stage, **small)
        assert torch.equal(model.blocks(x), x) == is_zero
        assert (model(IDX) == 0).all() == is_zero
