"""Loss curves of many runs, as one picture."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gpt.base.errors import UserError, printable
from gpt.base.files import write_png
from gpt.runs.finding import FinishedRun
from gpt.runs.folder import RunFolder
from gpt.runs.reports import escaping
from gpt.runs.reports.documented import Comparison
from gpt.runs.reports.ranking import Ranking, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Axis = Literal["iterations", "tokens", "seconds", "compute"]

MOST_COLOURS, _MOST_CURVES = 10, 300  # the most groups with a colour each; the most curves in a picture

log = logging.getLogger(__name__)


def curves(comparison: Comparison, rankings: Sequence[Ranking], x: Axis, path: Path) -> bool:
    """Draw the estimated validation loss of every run; return whether there was anything to draw.

    Each stage or, with `rankings`, each group has a colour: a line for its mean, thin lines for its seeds. Crosses are
    documented losses.
    """
    figure, all_axes = panels(max(1, len(rankings)))
    if rankings:
        for axes, ranking in zip(all_axes, rankings, strict=True):
            _draw_groups(axes, [(label(group), group.runs) for group in ranking.groups], x)
            axes.set_title(printable(ranking.corpus), fontsize="medium", parse_math=False)
    else:
        _draw_groups(all_axes[0], list(comparison.counted.items()), x)
        _draw_documented(all_axes[0], comparison, x)
    drawn = [axes for axes in all_axes if axes.lines]
    for axes in drawn:
        axes.set(xlabel=_XLABELS[x], ylabel="estimated validation loss (nats per token)")
        log_scale(axes)
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize="small")
    if drawn:
        write_png(path, figure)
    return bool(drawn)


_XLABELS = {
    "iterations": "iteration",
    "tokens": "tokens trained on",
    "seconds": "seconds of training",
    "compute": "floating-point operations in training steps",
}


def _draw_groups(axes: "Axes", groups: Sequence[tuple[str, list[FinishedRun]]], x: Axis) -> None:
    from matplotlib.colors import TABLEAU_COLORS  # slow to import

    most = max(1, _MOST_CURVES // max(1, len(groups)))
    for number, (name, runs) in enumerate(groups[:_MOST_CURVES]):
        colour = list(TABLEAU_COLORS)[number] if number < MOST_COLOURS else "lightgrey"
        found = [_curve(run, x) for run in runs[:most]]
        lines = [line for line in found if line]
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


def _curve(run: FinishedRun, x: Axis) -> dict[int, tuple[float, float]]:
    """The evaluations as points, without iteration 0, which a log scale cannot show; empty for a damaged run."""
    folder, summary = run
    try:
        evaluations = [evaluation for evaluation in folder.evaluations() if evaluation.iteration > 0]
        clock = folder.clock() if x == "seconds" else {}
    except UserError as error:
        log.warning(f"no curve: {error}")
        return {}
    if x == "iterations":
        return {e.iteration: (e.iteration, e.val) for e in evaluations}
    if x == "compute" and not summary.flops:  # unknown, or without a matrix product
        log.warning(f"no curve: {folder.path} has no floating-point operations")
        return {}
    if x in ("tokens", "compute"):
        per_iteration = _tokens_per_iteration(folder) if any(e.tokens is None for e in evaluations) else 0
        tokens = [e.iteration * per_iteration if e.tokens is None else e.tokens for e in evaluations]
        # The compute in proportion to the tokens, although those of short windows cost somewhat less.
        scale = summary.flops / tokens[-1] if x == "compute" and summary.flops and tokens else 1
        return {e.iteration: (scale * n, e.val) for e, n in zip(evaluations, tokens, strict=True)}
    mean = summary.seconds / max(1, summary.iterations)
    return {e.iteration: (clock.get(e.iteration, e.iteration * mean), e.val) for e in evaluations}


def _tokens_per_iteration(folder: RunFolder) -> int:
    """Tokens per iteration of a run that did not record its tokens; an upper bound for sentence pairs."""
    from gpt import tasks  # slow to import

    config = folder.config()
    return tasks.of(config.data).tokens_in_batch(config.training.batch_size, config.model.hyperparameters["block_size"])


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


def panels(count: int) -> tuple["Figure", list["Axes"]]:
    """A figure with this many axes, one below the other."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(9, 5.5 * count), layout="constrained")
    return figure, list(figure.subplots(count, squeeze=False)[:, 0])
