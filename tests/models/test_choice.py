"""Hyperparameters that only some stages have, and what a stage's constructor refuses.

What is refused of any stage is in tests/base/test_choices.py.
"""

from typing import Any

import pytest

from gpt import models
from gpt.base.choices import Choice
from gpt.base.errors import RequestError

V6 = {"_target_": "gpt.models.v6_pre_norm.GPT", "block_size": 8, "n_embd": 32, "n_head": 4, "n_layer": 2}
TRANSFORMER = {
    "_target_": "gpt.models.transformer.Transformer", "block_size": 8, "n_embd": 32, "n_head": 4, "n_layer": 1,
    "n_hidden": 64, "dropout": 0.1, "norm": "pre", "shared_embedding": True,
}  # fmt: skip

REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (V6, {"n_head": 5}, "model: n_embd=32 must be a multiple of n_head=5"),
    (V6, {"dropout": 0.1}, "model.dropout is not a hyperparameter of gpt.models.v6_pre_norm.GPT, which takes "
                           "block_size, n_embd, n_head, n_layer"),
    ({"_target_": "gpt.models.v2_attention_head.GPT", "block_size": 8, "n_embd": 32}, {},
     "model.head_size is required by gpt.models.v2_attention_head.GPT, which takes block_size, n_embd, head_size"),
    (TRANSFORMER, {"dropout": 1.0}, "model.dropout=1.0: must be below 1"),
    (TRANSFORMER, {"dropout": -0.1}, "model.dropout=-0.1: must be at least 0"),
    (TRANSFORMER, {"norm": "mid"}, "model.norm=mid: must be pre or post"),
    (TRANSFORMER, {"shared_embedding": 1}, "model.shared_embedding=1: must be true or false"),
]  # fmt: skip


def test_hyperparameters_are_checked_against_the_signature() -> None:
    for values, changes, message in REFUSED:
        with pytest.raises(RequestError) as caught:
            models.build(Choice.model_validate(values | changes), vocab_size=65)
        assert str(caught.value) == message
