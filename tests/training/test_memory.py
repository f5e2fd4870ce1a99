"""Recomputed activations change nothing but the memory: the same losses and weights, to the bit."""

import pytest
import torch

from gpt.base.errors import RequestError
from gpt.data.text import TextData
from gpt.training.memory import recompute_blocks
from tests.conftest import build_small
from tests.training.helpers import losses, small_state, train_small, train_state, weights


@pytest.mark.parametrize("stage", ["v7", "v9"])
def test_the_losses_and_weights_are_the_same_to_the_bit(stage: str, data: TextData) -> None:
    state = small_state(stage)
    recompute_blocks(state.model)
    torch.manual_seed(1)
    train_state(state, data)
    expected = train_small(stage, data)
    assert losses(state) == losses(expected)
    assert weights(state) == weights(expected)


def test_only_the_input_of_each_block_is_kept() -> None:
    kept: list[int] = []

    def size(recompute: bool) -> int:
        model = build_small("v7", n_layer=4).train()
        if recompute:
            recompute_blocks(model)
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
            model(torch.zeros(8, 16, dtype=torch.int64))
        return sum(kept)

    assert size(recompute=True) < size(recompute=False) / 3


def test_a_stage_without_blocks_is_refused() -> None:
    with pytest.raises(RequestError, match="for stages with a stack of blocks"):
        recompute_blocks(build_small("v3"))
