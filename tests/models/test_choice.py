"""Which classes can be chosen as a stage, and with which hyperparameters."""

import pytest
import torch
from torch import nn

from gpt import models
from gpt.choices import Choice
from gpt.errors import RequestError
from tests.conftest import LADDER, stage_config

V6 = {"_target_": "gpt.models.v6_pre_norm.GPT", "block_size": 8, "n_embd": 32, "n_head": 4, "n_layer": 2}
TRANSFORMER = {
    "_target_": "gpt.models.v9_transformer.Transformer", "block_size": 8, "n_embd": 32, "n_head": 4, "n_layer": 1,
    "n_hidden": 64, "dropout": 0.1, "norm": "pre", "shared_embedding": True,
}  # fmt: skip


def build(values: dict, **changes: object) -> nn.Module:
    return models.build(Choice.model_validate(values | changes), vocab_size=65)


@pytest.mark.parametrize("stage", [*LADDER, "transformer"])
def test_every_stage_of_the_ladder_is_a_stage(stage: str) -> None:
    target = stage_config(stage).model["_target_"]
    found = models.STAGE.find(Choice.model_validate({"_target_": target}))
    assert f"{found.__module__}.{found.__name__}" == target


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "subprocess.Popen",
        "builtins.eval",
        "torch.load",
        "torch.nn.Linear",
        "gpt.files.write_atomically",
        "gpt.models.build",
        "gpt.models.nn.Module",
        "gpt.models.os.system",
        "gpt.models.attention.Dropout",
        "gpt.models.attention.causal_attention",
        "gpt.models.kv_cache.KVCache",
        "gpt.models.v2_attention_head.Embedding",
        "gpt.models.v2_attention_head.Head",
        "gpt.models.v3_attention_heads.check_heads",
        "gpt.models.v4_blocks.MultiHeadAttention",
        "gpt.models.v5_projection.FeedForward",
        "gpt.models.v5_projection.MultiHeadAttention",
        "gpt.models.v5_residual.Block",
        "gpt.models.v5_residual.Tensor",
        "gpt.models.v5_residual.nn.Module",
        "gpt.models.v9_transformer.EncoderOutput",
        "gpt.models.v9_transformer.DecoderBlock",
        "gpt.models.v5_residual",
        "gpt.models..v5_residual.GPT",
        "../../etc/passwd",
        "GPT",
        "...",
        "",
    ],
)
def test_only_stages_are_built(target: str) -> None:
    with pytest.raises(RequestError) as caught:
        build(V6, _target_=target)
    assert str(caught.value).startswith(f"model._target_={target} is not a stage of gpt.models: ")


@pytest.mark.parametrize(
    ("values", "changes", "message"),
    [
        (V6, {"n_embd": 0}, "model.n_embd=0: has to be at least 1"),
        (V6, {"n_embd": 2**16 + 1}, "model.n_embd=65537: has to be at most 65536"),
        (V6, {"n_layer": 257}, "model.n_layer=257: has to be at most 256"),
        (V6, {"block_size": 2**20 + 1}, "model.block_size=1048577: has to be at most 1048576"),
        (V6, {"n_head": 4.0}, "model.n_head=4.0: has to be a whole number"),
        (V6, {"n_head": "4"}, "model.n_head=4: has to be a whole number: remove the quotes"),
        (V6, {"n_layer": True}, "model.n_layer=true: has to be a whole number"),
        (V6, {"n_layer": None}, "model.n_layer=null: has to be a whole number"),
        (V6, {"n_head": 5}, "model: n_embd=32 must be a multiple of n_head=5"),
        (V6, {"dropout": 0.1}, "model.dropout is not a hyperparameter of gpt.models.v6_pre_norm.GPT, which takes "
                               "block_size, n_embd, n_head, n_layer"),
        (V6, {"vocab_size": 65}, "model.vocab_size is not a hyperparameter of gpt.models.v6_pre_norm.GPT, which takes "
                                 "block_size, n_embd, n_head, n_layer"),
        ({"_target_": "gpt.models.v2_attention_head.GPT", "block_size": 8, "n_embd": 32}, {},
         "model.head_size is required by gpt.models.v2_attention_head.GPT, which takes block_size, n_embd, head_size"),
        (TRANSFORMER, {"dropout": 1.0}, "model.dropout=1.0: has to be below 1"),
        (TRANSFORMER, {"dropout": -0.1}, "model.dropout=-0.1: has to be at least 0"),
        (TRANSFORMER, {"n_hidden": 0}, "model.n_hidden=0: has to be at least 1"),
        (TRANSFORMER, {"norm": "mid"}, "model.norm=mid: has to be pre or post"),
        (TRANSFORMER, {"shared_embedding": 1}, "model.shared_embedding=1: has to be true or false"),
    ],
)  # fmt: skip
def test_hyperparameters_are_checked_against_the_signature(values: dict, changes: dict, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        build(values, **changes)
    assert str(caught.value) == message


def test_what_is_chosen_is_what_is_built() -> None:
    model = build(V6, n_layer=3)
    assert model.block_size == 8
    assert len(model.blocks) == 3
    assert model(torch.zeros(2, 8, dtype=torch.int64)).shape == (2, 8, 65)
