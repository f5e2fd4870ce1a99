"""The twins of v6: each is v6 without one of its parts."""

import pytest
import torch

from tests.conftest import build, stage_config


@pytest.mark.parametrize("part", ["positions", "feed_forward"])
def test_a_twin_is_v6_where_the_part_is_zero(part: str) -> None:
    full, without = build("v6"), build(f"v6_without_{part}", seed=1)
    assert stage_config(f"v6_without_{part}").training == stage_config("v6").training
    state = full.state_dict()
    gone = {"positions": "position", "feed_forward": "feed_forward"}[part]
    for name, tensor in state.items():
        if gone in name:
            tensor.zero_()
    kept = {name.replace("embedding.token", "embedding") if part == "positions" else name: tensor
            for name, tensor in state.items() if gone not in name}  # fmt: skip
    without.load_state_dict(kept)
    idx = torch.randint(65, (2, 8))
    torch.testing.assert_close(without(idx), full(idx))


def test_v6_with_one_head_has_the_parameters_of_v6() -> None:
    one, several = build("v6_with_one_head"), build("v6")
    assert {name: tensor.shape for name, tensor in one.state_dict().items()} == {
        name: tensor.shape for name, tensor in several.state_dict().items()
    }
    assert [block.attention.n_head for block in one.blocks] == [1, 1, 1]
