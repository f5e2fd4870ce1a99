"""Every stage: its size, its causality, its arithmetic, its ability to learn; and the ladder as a learner reads it."""

import math
import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from gpt import models
from gpt.base.ladder import LADDER, OTHERS
from gpt.models import v4_blocks, v5_residual, v6_pre_norm, v7_dropout
from gpt.models.v2_attention_head import Head
from gpt.models.v3_attention_heads import MultiHeadAttention
from tests.conftest import build, build_small, small_size, stage_config

C, H, T = 32, 4, 8
CAUSAL = nn.Transformer.generate_square_subsequent_mask(T)
PARAMETERS = {
    "v1": 4_225,
    "v2": 4_977,
    "v3": 7_553,
    "v3_ffn": 8_609,
    "v4": 16_865,
    "v5": 41_921,
    "v6": 42_369,
    "v7": 10_788_929,
}


def without_dropout(stage: str) -> nn.Module:
    """The stage in a small size, in training mode."""
    changes = {"dropout": 0.0} if stage == "v7" else {}
    return build(stage, **small_size(stage), **changes).train()


def test_number_of_parameters() -> None:
    assert {stage: sum(p.numel() for p in build(stage).parameters()) for stage in PARAMETERS} == PARAMETERS
    assert sum(p.numel() for p in build("v6", n_layer=4).parameters()) == 54_977


@pytest.mark.parametrize("stage", [*LADDER, *OTHERS])
def test_a_changed_future_token_changes_no_earlier_logit(stage: str) -> None:
    model = build_small(stage)
    idx = torch.randint(65, (2, model.block_size))
    logits = model(idx)
    for t in range(model.block_size):
        changed = idx.clone()
        changed[:, t] = (changed[:, t] + 1) % 65
        difference = (model(changed) - logits).abs().amax(dim=(0, 2))
        assert (difference[:t] == 0).all()
        assert difference[t] > 0
    torch.testing.assert_close(model(idx[:, :3]), logits[:, :3])  # windows may be shorter


@pytest.mark.parametrize("stage", [*LADDER, *OTHERS])
def test_a_stage_begins_with_the_loss_of_guessing(stage: str) -> None:
    model = without_dropout(stage)
    idx, targets = torch.randint(65, (2, 64, min(model.block_size, 32)))
    loss = cross_entropy(model(idx).flatten(0, 1), targets.flatten())
    assert math.log(65) - 0.05 < loss.item() < math.log(65) + 0.6  # logits of variance s^2 cost about s^2 / 2 more


@pytest.mark.parametrize("stage", [*LADDER, *OTHERS])
def test_a_stage_memorises_a_batch(stage: str) -> None:
    model = without_dropout(stage)
    T = min(model.block_size, 8)
    order = torch.randperm(65, generator=torch.Generator().manual_seed(0))
    idx = order[: 4 * (T + 1)].view(4, T + 1)  # no token twice, so that even a bigram table can learn it
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.3 if stage == "v1" else 3e-3)
    for _ in range(1000):
        optimizer.zero_grad()
        loss = cross_entropy(model(idx[:, :-1]).flatten(0, 1), idx[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        if loss.item() < 0.25:
            return
    pytest.fail(f"the loss is still {loss.item():.3f}")


@torch.no_grad()
def test_attention_and_blocks_equal_the_layers_of_pytorch() -> None:
    torch.manual_seed(0)
    one, several, block, x = Head(C, C), MultiHeadAttention(C, H), v4_blocks.Block(C, H), torch.randn(2, T, C)
    qkv = [torch.cat([one.query.weight, one.key.weight, one.value.weight])]
    qkv += [several.qkv.weight, block.attention.qkv.weight]
    for module, heads, weights in zip((one, several, block), (1, H, H), qkv, strict=True):
        reference = nn.MultiheadAttention(C, heads, bias=False, batch_first=True)
        reference.in_proj_weight.copy_(weights)
        reference.out_proj.weight.copy_(torch.eye(C))
        expected, _ = reference(x, x, x, attn_mask=CAUSAL, need_weights=False)
        torch.testing.assert_close(module(x), block.feed_forward[0](expected).relu() if module is block else expected)


@pytest.mark.parametrize("block_class", [v5_residual.Block, v6_pre_norm.Block, v7_dropout.Block])
def test_residual_block_equals_pytorch_encoder_layer(block_class: type[nn.Module]) -> None:
    torch.manual_seed(0)
    block = block_class(C, H, 0.2).eval() if block_class is v7_dropout.Block else block_class(C, H)
    layer = nn.TransformerEncoderLayer(C, H, 4 * C, dropout=0.0, batch_first=True, norm_first=True)
    if block_class is v5_residual.Block:
        layer.norm1 = layer.norm2 = nn.Identity()
    else:
        for norm in (block.attention_norm, block.feed_forward_norm):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
        layer.norm1, layer.norm2 = block.attention_norm, block.feed_forward_norm
    with torch.no_grad():
        layer.self_attn.in_proj_weight.copy_(block.attention.qkv.weight)
        layer.self_attn.in_proj_bias.zero_()
    layer.self_attn.out_proj.load_state_dict(block.attention.projection.state_dict())
    layer.linear1, layer.linear2 = block.feed_forward[0], block.feed_forward[2]
    x = torch.randn(2, T, C)
    torch.testing.assert_close(block(x), layer(x, src_mask=CAUSAL), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_v7_drops_attention_weights_and_the_output_of_both_branches() -> None:
    torch.manual_seed(0)
    block = v7_dropout.Block(C, H, 0.5)  # in training mode
    attention, feed_forward = block.attention, block.feed_forward
    x = torch.randn(1000, 1, C)  # a token by itself: the weight of each head is 1, and dropped or not
    attention.projection.weight.copy_(torch.eye(C))
    attention.projection.bias.zero_()
    for parameter in feed_forward[2].parameters():
        parameter.zero_()
    dropped = block(x) == x  # by the attention weights a whole head, by the branch's output single channels
    assert dropped.view(1000, H, C // H).all(dim=-1).float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert dropped.float().mean().item() == pytest.approx(0.75, abs=0.03)
    attention.projection.weight.zero_()
    nn.init.ones_(feed_forward[2].bias)
    assert (block(x) == x).float().mean().item() == pytest.approx(0.5, abs=0.03)


MODULES = Path(models.__file__).parent


def test_each_stage_is_a_file_that_differs_by_its_idea() -> None:
    targets = [stage_config(stage).model["_target_"].split(".") for stage in LADDER]
    files = [MODULES / f"{module}.py" for *_, module, _ in targets]
    assert set(MODULES.glob("v*.py")) == set(files)
    for stage, following, limit in zip(files, files[1:], [50, 35, 35, 20, 25, 16, 30, 45, 80], strict=False):
        command = ["git", "diff", "--no-index", "--numstat", stage, following]
        counts = subprocess.run(command, capture_output=True, text=True).stdout.split()[:2]
        assert 0 < max(map(int, counts)) <= limit, following
