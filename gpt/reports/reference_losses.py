"""The loss of many runs against a key, or against their size, as one picture."""

import itertools
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gpt.base.errors import RequestError, printable
from gpt.config.keys import LENGTHS
from gpt.config.synonyms import by_name
from gpt.reports import escaping
from gpt.reports.axes import mark_values, panels
from gpt.reports.plots import MOST_COLOURS, quantity
from gpt.reports.ranking import WORSE_THAN_GUESSING, Group, Ranking, format_key, is_number, label, names
from gpt.runs.records import Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_TICKS = 12  # values of a key that are each marked on the axis
_WIDE = 4  # the ratio of the largest to the smallest value from which the axis is logarithmic
_SIZES = {"parameters": "parameters", "compute": "flops"}  # of a run, in its summary


def draw(rankings: Sequence[Ranking], by: str, metric: Metric, title: str | None = None) -> "Figure":
    """Draw the loss against a key, with a line for each combination of the others.

    The key may be a size, "parameters" or "compute". Each ranking has a panel. Raises RequestError for a key that does
    not vary, or an unknown size.
    """
    figure, all_axes, _ = panels(len(rankings))
    for axes, ranking in zip(all_axes, rankings, strict=True):
        _draw(axes, with_size(ranking, by), by, metric)
        if len(rankings) > 1:
            axes.set_title(printable(ranking.corpus), parse_math=False)
    if title is not None:
        figure.suptitle(printable(title), fontsize="x-large", parse_math=False)
    return figure


def _draw(axes: "Axes", ranking: Ranking, by: str, metric: Metric) -> None:
    short, key = names(ranking.keys), _known(ranking).get(by)
    if key is None:
        for folder, summary in ranking.runs if by in _SIZES else ():
            if getattr(summary, _SIZES[by]) is None:
                raise RequestError(f"by={by}: {folder.path} does not state it: it could not be counted")
        raise RequestError(
            f"by={by} does not vary between these runs; these keys do: {', '.join(short.values()) or 'none'}"
        )
    _draw_against(axes, ranking, key)
    axes.set(xlabel=escaping.label(short[key]), ylabel=quantity(metric, ranking.unit))
    axes.grid(alpha=0.3)


def varies(ranking: Ranking, by: str) -> bool:
    """Whether this key or size varies between the runs of a ranking."""
    return by in _known(with_size(ranking, by))


def with_size(ranking: Ranking, by: str) -> Ranking:
    """The ranking with the size that `by` names among its keys, if it varies, in place of the keys that set it.

    Hyperparameters of the stage set a size or, for compute, the length of the training if it varies.
    """
    sizes = [_size(group, by) for group in ranking.groups] if by in _SIZES else []
    if len(set(sizes)) < 2 or None in sizes:
        return ranking
    lengths = {key for key in ranking.keys if key in (*LENGTHS, "training.batch_size")}
    of_stage = {key for key in ranking.keys if key.startswith("model.") and not key.endswith("_target_")}
    setting = lengths if by == "compute" and lengths else of_stage
    others = [key for key in ranking.keys if key not in setting]
    groups = [
        replace(group, values={key: group.values[key] for key in others} | {by: size})
        for group, size in zip(ranking.groups, sizes, strict=True)
    ]
    return replace(ranking, keys=[*others, by], groups=groups)


def _size(group: Group, name: str) -> float | None:
    """The mean size of the runs of a group; None if a run lacks it."""
    sizes = [getattr(summary, _SIZES[name]) for _, summary in group.runs]
    return None if None in sizes else statistics.mean(sizes)


def _known(ranking: Ranking) -> dict[str, str]:
    """The keys that vary, by each of their names."""
    own = {name: key for key, end in names(ranking.keys).items() for name in (key, end, key.removesuffix("._target_"))}
    return by_name(ranking.keys) | own


def _draw_against(axes: "Axes", ranking: Ranking, key: str) -> None:
    lines, learned = _lines(ranking.groups, key), _learned(ranking)
    values = [group.values[key] for group in ranking.groups]
    is_numeric = all(map(is_number, values))

    def place(group: Group) -> Any:
        return group.values[key] if is_numeric else escaping.label(format_key(key, group.values[key]))

    for number, (name, groups) in enumerate(itertools.islice(lines.items(), MOST_COLOURS)):
        if is_numeric:
            groups.sort(key=place)
        kept = [group for group in groups if group in learned]
        errors = [group.deviation or 0.0 for group in kept]
        means, text = [group.mean for group in kept], escaping.label(name) if len(lines) > 1 else None
        axes.errorbar([*map(place, kept)], means, errors, marker="o", capsize=3, color=f"C{number}", label=text)
        diverged = [place(group) for group in groups if group not in learned]
        height = axes.get_xaxis_transform()
        axes.plot(diverged, [0.97] * len(diverged), "x", color=f"C{number}", transform=height)
    if is_numeric:
        if min(values) > 0 and (max(values) >= _WIDE * min(values) or key.endswith("_rate")):
            axes.set_xscale("log")
        if len(set(values)) <= _MOST_TICKS:
            mark_values(axes, values)
    if len(learned) < len(ranking.groups):
        axes.plot([], [], "x", color="grey", label="diverged")
        axes.margins(y=0.1)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))  # beside the lines, so that it does not cover them


def _lines(groups: list[Group], key: str) -> dict[str, list[Group]]:
    """The groups of each combination of the other keys, by its name, in the order of their values."""
    rest = [other for other in groups[0].values if other != key]
    lines: dict[str, list[Group]] = defaultdict(list)
    for group in groups:
        lines[label({k: group.values[k] for k in rest})].append(group)
    return dict(_ordered(lines.items(), lambda line: [line[1][0].values[k] for k in rest]))


def _learned(ranking: Ranking) -> list[Group]:
    """The groups that have not diverged, or all groups if all have."""
    return [group for group in ranking.groups if group.standing != WORSE_THAN_GUESSING] or ranking.groups


def _ordered(values: Iterable[Any], key: Callable[[Any], Any] | None = None) -> list[Any]:
    try:
        return sorted(values, key=key)
    except TypeError:  # values of several types
        return list(values)
