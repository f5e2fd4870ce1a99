"""The stages in their order: the one list from which tests, docs, benchmarks and --help are derived."""

import re

from gpt.base.installation import CONF

_ON_LADDER = re.compile(r"v(\d+)(_\w+)?")
_ABLATION = re.compile("_with(out)?_")  # v5_without_residuals is v5 without one of its ideas
OTHERS = ("mlp", "conv", "rnn", "gru", "lstm", "linear_attention", "min_gru", "hybrid")  # other architectures
BESIDE = (*OTHERS, "transformer")  # stages outside the numbered ladder


def is_ablation(stage: str) -> bool:
    """Whether a stage is an ablation: another stage with one idea less, or one more."""
    return _ABLATION.search(stage) is not None


def rank(stage: str) -> tuple[bool, bool, int, str]:
    """A sort key: the ladder, the other stages, a user's own stages; then ablations, by their stage."""
    original = _ABLATION.split(stage)[0]
    if number := _ON_LADDER.fullmatch(original):
        return is_ablation(stage), False, int(number[1]), stage
    return is_ablation(stage), True, BESIDE.index(original) if original in BESIDE else len(BESIDE), stage


# A stage is on the ladder by its name: conf/model/v10.yaml comes after v9.yaml.
_CHOICES = [path.stem for path in (CONF / "model").glob("v*.yaml")]
LADDER = tuple(sorted((name for name in _CHOICES if _ON_LADDER.fullmatch(name) and not is_ablation(name)), key=rank))
_IDEA = re.compile(r"_target_: gpt\.models\.v\d+_(\w+)\.")
SMALL = LADDER[: LADDER.index("v7")]  # trained on a CPU in minutes


def with_idea(word: str) -> str | None:
    """The stage of the ladder whose module is named after this idea: v5 for residual, v6 for norm; None if unclear."""
    ideas = {stage: _IDEA.search((CONF / "model" / f"{stage}.yaml").read_text(encoding="utf-8")) for stage in LADDER}
    named = {stage: match[1] for stage, match in ideas.items() if match}
    found = [stage for stage, idea in named.items() if idea == word]
    found = found or [stage for stage, idea in named.items() if word in idea.split("_")]
    return found[0] if len(found) == 1 else None
