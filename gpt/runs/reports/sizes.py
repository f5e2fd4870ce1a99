"""The parameters and the compute of runs, to plot the loss against as if they were settings."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace

from gpt.runs.records import Summary
from gpt.runs.reports.ranking import Group, Ranking

_SIZES: dict[str, Callable[[Summary], float | None]] = {
    "parameters": lambda summary: summary.parameters,
    "compute": lambda summary: summary.flops,
}


def with_sizes(ranking: Ranking, by: Sequence[str]) -> Ranking:
    """The ranking with the sizes that `by` names among its keys, if they vary, in place of the keys that set them.

    These are the hyperparameters of the stage or, for compute, the length of the training if that varies.
    """
    for name in by:
        sizes = [_size(group, name) for group in ranking.groups] if name in _SIZES else []
        if len(set(sizes)) > 1 and None not in sizes:
            others = [key for key in ranking.keys if key not in _setting(ranking.keys, name)]
            groups = [
                replace(group, values={key: group.values[key] for key in others} | {name: size})
                for group, size in zip(ranking.groups, sizes, strict=True)
            ]
            ranking = replace(ranking, keys=[*others, name], groups=groups)
    return ranking


def _size(group: Group, name: str) -> float | None:
    """The mean over the runs of a group; None if one does not know it."""
    known = [size for run in group.runs if (size := _SIZES[name](run.summary)) is not None]
    return statistics.mean(known) if len(known) == len(group.runs) else None


def _setting(keys: Sequence[str], name: str) -> list[str]:
    """Those of the keys that set a size."""
    lengths = [key for key in keys if key in ("training.max_iters", "training.batch_size")]
    if name == "compute" and lengths:
        return lengths
    return [key for key in keys if key.startswith("model.") and not key.endswith("_target_")]
