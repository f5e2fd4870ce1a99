"""Which hyperparameters of a stage may change without its weights becoming another model."""

from typing import Any

import pytest
from omegaconf import OmegaConf

from gpt.base.choices import Choice
from gpt.session.equality import is_same_function
from tests.conftest import stage_config

SMALL = {"block_size": 16, "n_embd": 32, "n_head": 4, "n_layer": 2}


@pytest.mark.parametrize(
    ("stage", "changes", "is_same"),
    [
        ("v1", {"block_size": 4}, True),
        ("v3", {"n_head": 8}, False),
        ("v6", {"n_layer": 1}, False),
        ("v7", {"dropout": 0.7}, True),
        ("v7", {"n_head": 8}, False),
        ("v7", {"block_size": 8}, False),  # positions are learned
        ("v7", {"n_embd": 2**16, "n_layer": 256}, False),  # more than there is memory for
        ("v8", {"block_size": 64, "dropout": 0.7}, True),  # positions are rotations
        ("v8", {"n_head": 2}, False),
        ("transformer", {"dropout": 0.7}, True),
        ("transformer", {"n_head": 1}, False),
    ],
)
def test_the_same_weights_are_the_same_model_or_another(stage: str, changes: dict[str, Any], is_same: bool) -> None:
    values: Any = OmegaConf.to_container(stage_config(stage).model)
    small = {key: value for key, value in SMALL.items() if key in values}
    old, new = (Choice.model_validate(values | small | more) for more in ({}, changes))
    assert is_same_function(old, old, vocab_size=11)
    assert is_same_function(old, new, vocab_size=11) == is_same
