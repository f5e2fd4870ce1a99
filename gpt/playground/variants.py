"""Stages with one difference, which the page trains beside the stage itself: page/training/experiments.js."""

from typing import Any

from gpt.base.choices import Choice

_ABLATIONS = "gpt.models.ablations"
# By stage and name: the hyperparameters that differ.
_VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "v2": {"without_scaling": {"_target_": f"{_ABLATIONS}.without_scaling.GPT"}},
    "v4": {"1_block": {"n_layer": 1}, "6_blocks": {"n_layer": 6}},
    "v5": {
        "6_blocks": {"n_layer": 6},
        "6_blocks_without_residuals": {
            "_target_": f"{_ABLATIONS}.without_residuals.GPT", "n_layer": 6, "layer_norm": False,
        },
    },
}  # fmt: skip


def variants(stage: str, choice: Choice) -> dict[str, Choice]:
    """The variants of a stage, by name; none of a stage without experiments of its own."""
    own = choice.model_dump(by_alias=True)
    return {name: Choice.model_validate(own | other) for name, other in _VARIANTS.get(stage, {}).items()}
