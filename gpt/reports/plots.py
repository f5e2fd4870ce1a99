"""Loss curves of many runs, as one picture."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gpt.base.errors import UserError, printable
from gpt.base.pictures import write_png
from gpt.reports import escaping
from gpt.reports.curves import XLABELS, Axis, curve
from gpt.reports.documented import Comparison
from gpt.reports.ranking import Ranking, label
from gpt.runs.finding import FinishedRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_COLOURS, _MOST_CURVES = 10, 300  # the most groups with a colour each; the most curves in a picture
_MOST_NAMES_INSIDE = 5

log = logging.getLogger(__name__)


def curves(comparison: Comparison, rankings: Sequence[Ranking], x: Axis, path: Path) -> bool:
    """Draw the estimated validation loss of every run; return whether there was anything to draw.

    Each stage or, with `rankings`, each group has a colour: a line for its mean, thin lines for its seeds. Crosses are
    documented losses.
    """
    figure, all_axes = panels(max(1, len(rankings)))
    if rankings:
        for axes, ranking in zip(all_axes, rankings, strict=True):
            _draw_groups(axes, [(label(group.values), group.runs) for group in ranking.groups], x, ranking.unit)
            title = f"Validation loss during training on {ranking.corpus}"
            axes.set_title(printable(title), fontsize="medium", parse_math=False)
    else:
        _draw_groups(all_axes[0], list(comparison.counted.items()), x, "token")
        _draw_documented(all_axes[0], comparison, x)
    drawn = [axes for axes in all_axes if axes.lines]
    for axes in drawn:
        axes.set_xlabel(XLABELS[x])
        log_scale(axes)
        axes.grid(alpha=0.3, which="both")
        add_legend(axes)
    if drawn:
        write_png(path, figure)
    return bool(drawn)


def _draw_groups(axes: "Axes", groups: Sequence[tuple[str, list[FinishedRun]]], x: Axis, unit: str) -> None:
    from matplotlib.colors import TABLEAU_COLORS  # slow to import

    axes.set_ylabel(f"estimated validation loss (nats per {unit})")
    most = max(1, _MOST_CURVES // max(1, len(groups)))
    for number, (name, runs) in enumerate(groups[:_MOST_CURVES]):
        colour = list(TABLEAU_COLORS)[number] if number < MOST_COLOURS else "lightgrey"
        lines = [line for run in runs[:most] if (line := _curve(run, x, unit))]
        for line in lines:
            axes.plot(*zip(*line.values(), strict=True), color=colour, linewidth=0.6,
                      marker="." if len(line) == 1 else None, alpha=0.6, zorder=1)  # fmt: skip
        if not lines:
            continue
        shared = [iteration for iteration in lines[0] if all(iteration in line for line in lines)]
        mean = [tuple(sum(line[i][axis] for line in lines) / len(lines) for axis in (0, 1)) for i in shared]
        is_named = number < MOST_COLOURS or number == len(groups) - 1
        rest = f"{len(groups) - MOST_COLOURS} more"
        text = name if number < MOST_COLOURS else rest
        text = escaping.label(text if len(text) <= 60 else f"{text[:59]}…") if is_named else "_"
        axes.plot(*zip(*mean, strict=True), color=colour, marker=".", label=text, zorder=2 if is_named else 1)


def _curve(run: FinishedRun, x: Axis, unit: str) -> dict[int, tuple[float, float]]:
    """The points of a run; empty, with a warning, if it has no curve."""
    try:
        return curve(run, x, unit)
    except UserError as error:
        log.warning(f"no curve: {error}")
        return {}


def _draw_documented(axes: "Axes", comparison: Comparison, x: Axis) -> None:
    if not axes.lines or x != "iterations":
        return
    colours = {line.get_label(): line.get_color() for line in axes.lines}
    meanings = {"x": "documented", "+": "documented, one mini-batch"}
    drawn = set()
    for row in comparison.rows:
        if row.documented is not None and row.split == "val" and row.stage in colours:
            end = comparison.counted[row.stage][0].summary.iterations
            marker, colour = ("x", colours[row.stage]) if row.difference is not None else ("+", "grey")
            axes.plot(end, row.documented, marker, color=colour, markersize=9, markeredgewidth=2)
            drawn.add(marker)
    for marker in sorted(drawn, reverse=True):
        axes.plot([], [], marker, color="black" if marker == "x" else "grey", label=meanings[marker])


def log_scale(axes: "Axes") -> None:
    """A logarithmic horizontal axis with plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def add_legend(axes: "Axes") -> None:
    """Name the lines, if any has a name: in the axes or, where so many names would cover the lines, beside them."""
    count = len(axes.get_legend_handles_labels()[1])
    if count > _MOST_NAMES_INSIDE:
        axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    elif count:
        axes.legend(fontsize="small")


def panels(count: int) -> tuple["Figure", list["Axes"]]:
    """A figure with this many axes, one below the other."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(9, 5.5 * count), layout="constrained")
    return figure, list(figure.subplots(count, squeeze=False)[:, 0])
