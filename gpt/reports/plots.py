"""Loss curves of many runs, as one picture."""

import logging
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gpt.base.errors import UserError, printable
from gpt.base.ladder import rank
from gpt.base.losses import Unit
from gpt.base.pictures import write_picture
from gpt.reports import escaping
from gpt.reports.axes import PANEL_HEIGHT, log_axis, panels
from gpt.reports.curves import XLABELS, Axis, curve
from gpt.reports.documented import Comparison
from gpt.reports.ranking import Group, Ranking, label
from gpt.runs.finding import FinishedRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_COLOURS, _MOST_CURVES = 10, 300  # the most groups with a colour each; the most curves in a picture
_LONGEST = 40  # characters of a name

log = logging.getLogger(__name__)


def curves(comparison: Comparison, rankings: Sequence[Ranking], x: Axis, path: Path, title: str | None = None) -> bool:
    """Draw the estimated validation loss of every run; return whether there was anything to draw.

    Each stage or, with `rankings`, each group has a colour: a line for its mean, thin lines for its seeds, and its name
    and last loss at the end of the line. Crosses are documented losses. Without a title, each panel has its corpus's.
    """
    figure, all_axes = panels(max(1, len(rankings)))
    if rankings:
        for axes, ranking in zip(all_axes, rankings, strict=True):
            _draw_groups(axes, _named(ranking.groups), x, ranking.unit)
            axes.set_title(printable(f"Validation loss on {ranking.corpus}"), parse_math=False)
    else:
        stages = sorted(comparison.counted.items(), key=lambda stage: rank(stage[0]))
        _draw_groups(all_axes[0], stages, x, "token")
        _draw_documented(all_axes[0], comparison, x)
        all_axes[0].set_title("Validation loss of the documented runs")
    if title is not None:
        figure.suptitle(printable(title), fontsize="x-large", parse_math=False)
        if len(all_axes) == 1:
            all_axes[0].set_title("")
    drawn = [axes for axes in all_axes if axes.lines]
    if drawn:
        write_picture(path, figure)
    return bool(drawn)


def _named(groups: Sequence[Group]) -> list[tuple[str, list[FinishedRun]]]:
    """The groups by their names: stages in the order of the ladder, numbers in theirs, and others by their loss."""
    keys = list(groups[0].values)
    stages = {group.values["stage"] for group in groups} if "stage" in keys else set()

    def place(group: Group) -> tuple:
        if stages:
            return rank(group.values["stage"])
        value = group.values[keys[0]] if len(keys) == 1 else None
        return (value,) if isinstance(value, int | float) else (0,)

    return [(label(group.values), group.runs) for group in sorted(groups, key=place)]


def _draw_groups(axes: "Axes", groups: Sequence[tuple[str, list[FinishedRun]]], x: Axis, unit: Unit) -> None:
    from matplotlib.colors import TABLEAU_COLORS  # slow to import

    axes.set(xlabel=XLABELS[x], ylabel=f"validation loss (nats per {unit})")
    axes.grid(alpha=0.3)
    most = max(1, _MOST_CURVES // max(1, len(groups)))
    ends: dict[str, tuple[float, str]] = {}  # by name: the last mean, and the colour
    amounts = set()
    for number, (name, runs) in enumerate(groups[:_MOST_CURVES]):
        colour = list(TABLEAU_COLORS)[number] if number < MOST_COLOURS else "lightgrey"
        lines = [line for run in runs[:most] if (line := _curve(run, x, unit))]
        for line in lines:
            axes.plot(*zip(*line.values(), strict=True), color=colour, linewidth=0.6,
                      marker="." if len(line) == 1 else None, alpha=0.6, zorder=1)  # fmt: skip
            amounts |= {amount for amount, _ in line.values()}
        if not lines:
            continue
        shared = [iteration for iteration in lines[0] if all(iteration in line for line in lines)]
        mean = [tuple(sum(line[i][axis] for line in lines) / len(lines) for axis in (0, 1)) for i in shared]
        axes.plot(*zip(*mean, strict=True), color=colour, marker=".", zorder=2 if number < MOST_COLOURS else 1)
        if number < MOST_COLOURS:
            ends[name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"] = (mean[-1][1], colour)
    if amounts:
        log_axis(axes, amounts)
    _label_ends(axes, ends)
    if len(groups) > MOST_COLOURS:
        axes.plot([], [], color="lightgrey", label=f"{len(groups) - MOST_COLOURS} more")
        axes.legend()


def _label_ends(axes: "Axes", ends: Mapping[str, tuple[float, str]]) -> None:
    """Write the names and the losses of lines beside their ends, none on top of another."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    in_order = sorted(ends.items(), key=lambda end: end[1][0])
    size = 10.0  # points
    gap = 1.3 * size / (0.8 * 72 * PANEL_HEIGHT)  # of the height of the axes
    heights = _spread([(loss - low) / (high - low) for _, (loss, _) in in_order], gap)
    for (name, (loss, colour)), height in zip(in_order, heights, strict=True):
        axes.text(1.01, height, escaping.label(f"{name}  {loss:.4f}"), color=colour, fontsize=size,
                  va="center", transform=axes.transAxes)  # fmt: skip


def _spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Ascending heights that are at least `gap` apart and as near to the wanted ones, also ascending, as can be."""
    blocks: list[list[float]] = []  # of neighbours that touch each other
    for i, height in enumerate(wanted):
        blocks.append([height - i * gap])
        while len(blocks) > 1 and statistics.mean(blocks[-2]) > statistics.mean(blocks[-1]):
            above = blocks.pop()
            blocks[-1] += above
    lowest = [statistics.mean(block) for block in blocks for _ in block]
    return [height + i * gap for i, height in enumerate(lowest)]


def _curve(run: FinishedRun, x: Axis, unit: Unit) -> dict[int, tuple[float, float]]:
    """The points of a run; empty, with a warning, if it has no curve."""
    try:
        return curve(run, x, unit)
    except UserError as error:
        log.warning(f"no curve: {error}")
        return {}


def _draw_documented(axes: "Axes", comparison: Comparison, x: Axis) -> None:
    if not axes.lines or x != "iterations":
        return
    meanings = {"x": "documented", "+": "documented, one mini-batch"}
    drawn = set()
    for row in comparison.rows:
        if row.documented is not None and row.split == "val":
            end = comparison.counted[row.stage][0].summary.iterations
            marker = "x" if row.difference is not None else "+"
            axes.plot(end, row.documented, marker, color="black" if marker == "x" else "grey", markeredgewidth=1.5)
            drawn.add(marker)
    for marker in sorted(drawn, reverse=True):
        axes.plot([], [], marker, color="black" if marker == "x" else "grey", label=meanings[marker])
    if drawn:
        axes.legend(loc="upper right")
