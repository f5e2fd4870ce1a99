"""The parameters and the compute of runs, to plot the loss against as if they were settings."""

import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace

from gpt.reports.ranking import Group, Ranking
from gpt.runs.finding import FinishedRun
from gpt.runs.records import Summary

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
            setting = _setting(ranking, name, sizes)
            others = [key for key in ranking.keys if key not in setting]
            groups = [
                replace(group, values={key: group.values[key] for key in others} | {name: size})
                for group, size in zip(ranking.groups, sizes, strict=True)
            ]
            ranking = replace(ranking, keys=[*others, name], groups=groups)
    return ranking


def without(ranking: Ranking, name: str) -> FinishedRun | None:
    """A run that does not state the size of this name; None if all do, or if it is not the name of a size."""
    runs = [run for group in ranking.groups for run in group.runs]
    return next((run for run in runs if name in _SIZES and _SIZES[name](run.summary) is None), None)


def _size(group: Group, name: str) -> float | None:
    """The mean over the runs of a group; None if one does not know it."""
    known = [size for run in group.runs if (size := _SIZES[name](run.summary)) is not None]
    return statistics.mean(known) if len(known) == len(group.runs) else None


def _setting(ranking: Ranking, name: str, sizes: Sequence[float | None]) -> set[str]:
    """Those of the keys that set a size; a key in which groups of one size differ, and only in such keys, does not."""
    lengths = {key for key in ranking.keys if key in ("training.max_iters", "training.batch_size")}
    of_stage = {key for key in ranking.keys if key.startswith("model.") and not key.endswith("_target_")}
    candidates = lengths if name == "compute" and lengths else of_stage
    idle = set()
    for (one, size), (other, its_size) in itertools.combinations(zip(ranking.groups, sizes, strict=True), 2):
        differing = {key for key in ranking.keys if one.values[key] != other.values[key]}
        if size == its_size and differing <= candidates:
            idle |= differing
    return candidates - idle
