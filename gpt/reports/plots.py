"""Loss curves of many runs: their points, their losses after an equal amount of training, and one picture of them."""

import logging
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from gpt.base.errors import UserError, printable
from gpt.base.ladder import rank
from gpt.base.losses import Unit, nats_per
from gpt.reports import escaping
from gpt.reports.axes import panels
from gpt.reports.documented import Comparison, with_deviation
from gpt.reports.ranking import Group, Ranking, is_number, label
from gpt.runs.finding import FinishedRun
from gpt.runs.records import LOSSES, Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Axis = Literal["iterations", "tokens", "seconds", "compute"]

XLABELS = {
    "iterations": "iteration",
    "tokens": "tokens trained on",
    "seconds": "seconds of training steps",
    "compute": "floating-point operations in training steps",
}
MOST_COLOURS = 10  # groups with a colour each
_LONGEST = 40  # characters of a name

log = logging.getLogger(__name__)


def curve(run: FinishedRun, x: Axis, unit: Unit = "token") -> dict[int, tuple[float, float]]:
    """The evaluations as points by iteration.

    Losses per character assume the token length of the exact loss. Raises UserError if the run is damaged, or does not
    state its compute.
    """
    folder, summary = run
    evaluations = folder.evaluations()
    nats = summary.exact.nats  # the mean of the same tokens, in characters or not
    scale = (summary.exact.per(unit) or nats) / nats if nats else 1.0
    losses = {e.iteration: e.val * scale for e in evaluations}
    amounts: dict[int, float] = {e.iteration: e.iteration if x == "iterations" else e.tokens for e in evaluations}
    if x == "seconds":
        amounts = folder.clock() | {0: 0.0}  # not the microseconds before the first step
    if x == "compute":
        if not summary.flops:  # unknown, or no matrix products
            raise UserError(f"{folder.path} has no floating-point operations")
        # In proportion to the tokens, although tokens of short windows cost somewhat less.
        amounts = {i: tokens * summary.flops / max(1, evaluations[-1].tokens) for i, tokens in amounts.items()}
    return {i: (amounts[i], loss) for i, loss in losses.items() if i in amounts}


def at_equal(ranking: Ranking, x: Axis) -> tuple[float, list[tuple[Group, list[float]]]] | None:
    """The largest `x` that all runs reached, and each group's losses there, one per seed, the lowest mean first.

    None if a run has no curve, or no evaluation before that `x`. Losses are in the unit of the ranking, interpolated
    linearly between two evaluations after the first update.
    """
    try:
        curves = [[curve(run, x, ranking.unit) for run in group.runs] for group in ranking.groups]
    except UserError:
        return None
    trained = [[sorted(line[i] for i in line if i > 0) for line in of_group] for of_group in curves]
    lines = [line for of_group in trained for line in of_group]
    if len(trained) < 2 or not all(lines):
        return None
    amount = min(line[-1][0] for line in lines)
    if any(line[0][0] > amount for line in lines):
        return None
    losses = [
        (group, [float(np.interp(amount, [at for at, _ in line], [loss for _, loss in line])) for line in of_group])
        for group, of_group in zip(ranking.groups, trained, strict=True)
    ]
    return amount, sorted(losses, key=lambda loss: statistics.mean(loss[1]))


def quantity(metric: Metric, unit: Unit) -> str:
    """The label of an axis for what a ranking is by."""
    return f"{metric} loss ({nats_per(unit)})" if metric in LOSSES else metric


def draw(
    comparison: Comparison, rankings: Sequence[Ranking], x: Axis, title: str | None = None, *, metric: Metric = "exact"
) -> "Figure | None":
    """Draw the estimated validation loss of every run; None if there is nothing to draw.

    Each stage or, with `rankings`, each group has a colour: a line for its mean, and thin lines for its seeds. A panel
    beside it has their names and results, with the deviation over seeds. Crosses are documented losses. Without a
    title, each panel has the name of its corpus.
    """
    figure, all_axes, sides = panels(max(1, len(rankings)), with_sides=True)
    if rankings:
        for number, (axes, ranking) in enumerate(zip(all_axes, rankings, strict=True)):
            named = _named(ranking.groups)
            ends = {name: (group.mean, group.deviation) for name, group in named}
            _draw_groups(axes, [(name, group.runs) for name, group in named], x, ranking.unit)
            axes.set_title(printable(f"Validation loss on {ranking.corpus}"), parse_math=False)
            _draw_ends(sides[number], ends, quantity(metric, ranking.unit))
    else:
        stages = sorted(comparison.counted.items(), key=lambda stage: rank(stage[0]))
        ends = {row.stage: (row.measured, row.deviation) for row in comparison.rows if row.split == "val"}
        _draw_groups(all_axes[0], stages, x, "token")
        _draw_documented(all_axes[0], comparison, x)
        all_axes[0].set_title("Validation loss of the documented runs")
        _draw_ends(sides[0], ends, quantity("estimated", "token"))
    if title is not None:
        figure.suptitle(printable(title), fontsize="x-large", parse_math=False)
        if len(all_axes) == 1:
            all_axes[0].set_title("")
    return figure if any(axes.lines for axes in all_axes) else None


def _named(groups: Sequence[Group]) -> list[tuple[str, Group]]:
    """The groups by name: stages in the order of the ladder, numbers in ascending order, others by loss."""

    def place(group: Group) -> tuple:
        if "stage" in group.values:
            return rank(group.values["stage"])
        numbers = [value for value in group.values.values() if is_number(value)]
        return (numbers[0],) if len(numbers) == len(group.values) == 1 else (0,)

    return [(label(group.values), group) for group in sorted(groups, key=place)]


def _draw_ends(axes: "Axes", ends: Mapping[str, tuple[float, float | None]], quantity: str) -> None:
    """Draw the values of the table, the first at the top, with the deviations over seeds."""
    shown = [*ends.items()][:MOST_COLOURS]
    for place, (_, (mean, deviation)) in enumerate(shown):
        axes.errorbar([mean], [place], xerr=deviation or None, fmt="o", capsize=4, color=f"C{place}")
    names = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name, _ in shown]
    losses = [with_deviation(*end) for _, end in shown]
    labels = [f"{escaping.label(name)}\n{loss}" for name, loss in zip(names, losses, strict=True)]
    axes.set_yticks(range(len(shown)), labels)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.margins(x=0.1, y=0.1)
    axes.set_xlabel(quantity)
    axes.set_title("At the end, ± deviation over seeds", loc="right")  # within the picture, however narrow the axes are


def _draw_groups(axes: "Axes", groups: Sequence[tuple[str, list[FinishedRun]]], x: Axis, unit: Unit) -> None:
    axes.set(xlabel=XLABELS[x], ylabel=f"validation loss ({nats_per(unit)})")
    axes.grid(alpha=0.3)
    for number, (_, runs) in enumerate(groups):
        colour, lines = f"C{number}" if number < MOST_COLOURS else "lightgrey", []
        for run in runs:
            try:
                lines += [line] if (line := curve(run, x, unit)) else []
            except UserError as error:
                log.warning(f"no curve: {error}")
        for line in lines:
            axes.plot(
                *zip(*line.values(), strict=True),
                color=colour,
                linewidth=0.6,
                marker="." if len(line) == 1 else None,
                alpha=0.6,
                zorder=1,
            )
        if not lines:
            continue
        shared = [iteration for iteration in lines[0] if all(iteration in line for line in lines)]
        mean = [tuple(sum(line[i][axis] for line in lines) / len(lines) for axis in (0, 1)) for i in shared]
        axes.plot(*zip(*mean, strict=True), color=colour, marker=".", zorder=2 if number < MOST_COLOURS else 1)
    if len(groups) > MOST_COLOURS:
        axes.plot([], [], color="lightgrey", label=f"{len(groups) - MOST_COLOURS} more")
        axes.legend()


def _draw_documented(axes: "Axes", comparison: Comparison, x: Axis) -> None:
    if not axes.lines or x != "iterations":
        return
    kinds = {True: ("x", "black", "documented"), False: ("+", "grey", "documented, one mini-batch")}
    for row in comparison.rows:
        if row.documented is not None and row.split == "val":
            end = comparison.counted[row.stage][0].summary.iterations
            marker, colour, text = kinds[row.difference is not None]
            axes.plot(end, row.documented, marker, color=colour, markeredgewidth=1.5, label=text)
    handles, texts = axes.get_legend_handles_labels()
    if by_text := dict(zip(texts, handles, strict=True)):
        axes.legend(by_text.values(), by_text.keys(), loc="upper right")
