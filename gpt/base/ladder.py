"""The stages in their order: the one list from which tests, docs, benchmarks and --help are derived."""

import re

from gpt.base.installation import CONF

_ON_LADDER = re.compile(r"v(\d+)(_\w+)?")
_MODULE = re.compile(r"gpt\.models\.(v\d+)_\w+")
_ABLATION = re.compile("_with(out)?_")  # v5_without_residuals is v5 without one of its ideas
OTHERS = ("mlp", "conv", "rnn", "gru", "lstm", "linear_attention", "min_gru", "hybrid")  # other architectures
BESIDE = (*OTHERS, "transformer")  # stages outside the numbered ladder


def is_ablation(stage: str) -> bool:
    """Whether a stage is an ablation: another stage with one idea less, or one more."""
    return _ABLATION.search(stage) is not None


def introduced_by(module: str) -> str | None:
    """The stage of the ladder that a module of this package introduces, by its name: v5 for gpt.models.v5_residual."""
    found = _MODULE.fullmatch(module)
    return found and found[1]


def rank(stage: str) -> tuple[bool, bool, int, str]:
    """A sort key: the ladder, the other stages, a user's own stages; then ablations, by their stage."""
    original = _ABLATION.split(stage)[0]
    if number := _ON_LADDER.fullmatch(original):
        return is_ablation(stage), False, int(number[1]), stage
    return is_ablation(stage), True, BESIDE.index(original) if original in BESIDE else len(BESIDE), stage


# A stage is on the ladder by its name: conf/model/v10.yaml comes after v9.yaml.
_CHOICES = [path.stem for path in (CONF / "model").glob("v*.yaml")]
LADDER = tuple(sorted((name for name in _CHOICES if _ON_LADDER.fullmatch(name) and not is_ablation(name)), key=rank))
SMALL = LADDER[: LADDER.index("v7")]  # trained on a CPU in minutes
