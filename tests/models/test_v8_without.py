"""The twins of v8: each is v8 but for one idea, and a stage in its own right."""

import pytest
import torch
from torch import nn

from gpt.models.v8_modern import TokenShift
from tests.conftest import REPOSITORY, build, build_small, stage_config

TWINS = sorted(path.stem for path in (REPOSITORY / "conf" / "model").glob("v8_without_*.yaml"))


@pytest.mark.parametrize("twin", TWINS)
def test_a_twin_differs_from_v8_in_one_thing(twin: str) -> None:
    v8, without = stage_config("v8"), stage_config(twin)
    assert (without.training, without.defaults) == (v8.training, v8.defaults)
    assert dict(without.model) | {"_target_": v8.model["_target_"]} == dict(v8.model)
    full, model = build_small("v8"), build_small(twin)
    idx = torch.randint(65, (2, model.block_size))
    for name, tensor in model.state_dict().items():  # the same weights, but for those of the idea
        if name in full.state_dict() and tensor.shape == full.state_dict()[name].shape:
            tensor.copy_(full.state_dict()[name])
    if twin == "v8_without_zero_init":
        assert torch.equal(model(idx), full(idx))
        return
    assert not torch.allclose(model(idx), full(idx), atol=1e-3)
    changed = idx.clone()
    changed[:, 9:] = (changed[:, 9:] + 1) % 65
    assert torch.equal(model(changed)[:, :9], model(idx)[:, :9])


def test_only_the_twin_without_it_begins_with_branches_that_are_not_zero() -> None:
    small = {"block_size": 16, "n_embd": 32, "n_head": 4, "n_layer": 2}
    for stage, is_zero in (("v8", True), ("v8_without_zero_init", False)):
        model = build(stage, **small)
        layers = [layer for block in model.blocks for layer in (block.attention.projection, block.feed_forward[2])]
        assert all((layer.weight == 0).all() == is_zero for layer in (*layers, model.lm_head))


def test_what_a_twin_leaves_out_is_nowhere_in_it() -> None:
    absent = {"rms_norm": nn.RMSNorm, "token_shift": TokenShift}
    for idea, kind in absent.items():
        assert any(isinstance(module, kind) for module in build_small("v8").modules())
        assert not any(isinstance(module, kind) for module in build_small(f"v8_without_{idea}").modules())
