"""The stages in their order: the one list from which tests, docs, benchmarks and --help are derived."""

import re

LADDER = ("v1", "v2", "v3", "v3_ffn", "v4", "v5", "v6", "v7", "v8", "v9")
SMALL = LADDER[: LADDER.index("v7")]  # trained on a CPU in minutes
OTHERS = ("mlp", "conv", "rnn", "gru", "lstm", "linear_attention", "min_gru", "hybrid")  # other architectures
BESIDE = (*OTHERS, "transformer")  # stages outside the numbered ladder

_ABLATION = re.compile("_with(out)?_")  # v5_without_residuals is v5 without one of its ideas


def is_ablation(stage: str) -> bool:
    """Whether a stage is an ablation: another stage with one idea less, or one more."""
    return _ABLATION.search(stage) is not None


def rank(stage: str) -> tuple[bool, int, str]:
    """A sort key: the ladder, the other stages, a user's own stages; then ablations, by their stage."""
    known = (*LADDER, *BESIDE)
    original = _ABLATION.split(stage)[0]
    return is_ablation(stage), known.index(original) if original in known else len(known), stage
