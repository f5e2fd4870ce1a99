"""Pictures of many runs: loss curves, and loss against one or two keys."""

import itertools
import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gpt.base.errors import RequestError, UserError, printable
from gpt.base.files import write_png
from gpt.runs.finding import FinishedRun
from gpt.runs.folder import RunFolder
from gpt.runs.reports import escaping, sizes
from gpt.runs.reports.documented import Comparison
from gpt.runs.reports.ranking import WORSE_THAN_GUESSING, Group, Metric, Ranking, label, names, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Axis = Literal["iterations", "tokens", "seconds", "compute"]

_MOST_COLOURS, _MOST_CURVES = 10, 300  # the most groups with a colour each; the most curves in a picture
_MOST_TICKS = 12  # values of a key that are each marked on the axis

log = logging.getLogger(__name__)


def curves(comparison: Comparison, rankings: Sequence[Ranking], x: Axis, path: Path) -> bool:
    """Draw the estimated validation loss of every run; return whether there was anything to draw.

    Each stage or, with `rankings`, each group has a colour: a line for its mean, thin lines for its seeds. Crosses are
    documented losses.
    """
    figure, panels = _panels(max(1, len(rankings)))
    if rankings:
        for axes, ranking in zip(panels, rankings, strict=True):
            _draw_groups(axes, [(label(group), group.runs) for group in ranking.groups], x)
            axes.set_title(printable(ranking.corpus), fontsize="medium", parse_math=False)
    else:
        _draw_groups(panels[0], list(comparison.counted.items()), x)
        _draw_documented(panels[0], comparison, x)
    drawn = [axes for axes in panels if axes.lines]
    for axes in drawn:
        axes.set(xlabel=_XLABELS[x], ylabel="estimated validation loss (nats per token)")
        _log_scale(axes)
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
        colour = list(TABLEAU_COLORS)[number] if number < _MOST_COLOURS else "lightgrey"
        found = [_curve(run, x) for run in runs[:most]]
        lines = [line for line in found if line]
        for line in lines:
            axes.plot(*zip(*line.values(), strict=True), color=colour, linewidth=0.6,
                      marker="." if len(line) == 1 else None, alpha=0.6, zorder=1)  # fmt: skip
        if not lines:
            continue
        shared = [iteration for iteration in lines[0] if all(iteration in line for line in lines)]
        mean = [tuple(sum(line[i][axis] for line in lines) / len(lines) for axis in (0, 1)) for i in shared]
        is_named = number < _MOST_COLOURS or number == len(groups) - 1
        rest = f"{len(groups) - _MOST_COLOURS} more"
        text = name if number < _MOST_COLOURS else rest
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
    if x == "tokens":
        per_iteration = _tokens_per_iteration(folder)
        return {e.iteration: (e.tokens or e.iteration * per_iteration, e.val) for e in evaluations}
    if x == "compute":
        if not summary.flops:  # unknown, or without a matrix product
            log.warning(f"no curve: {folder.path} has no floating-point operations")
            return {}
        return {e.iteration: (e.iteration * summary.flops / summary.iterations, e.val) for e in evaluations}
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
    for row in comparison.rows:
        if row.documented is not None and row.split == "val" and row.stage in colours:
            end = comparison.counted[row.stage][0].summary.iterations
            marker, colour = ("x", colours[row.stage]) if row.difference is not None else ("+", "grey")
            axes.plot(end, row.documented, marker, color=colour, markersize=9, markeredgewidth=2)
    axes.plot([], [], "kx", label="documented")
    axes.plot([], [], "+", color="grey", label="documented, one mini-batch")


def against(ranking: Ranking, by: Sequence[str], metric: Metric, path: Path) -> None:
    """Draw the loss against one key, with a line for each combination of the others, or against two as a heat map.

    A key may be a size, "parameters" or "compute". Raises RequestError for a key that does not vary.
    """
    ranking = sizes.with_sizes(ranking, by)
    short, known = names(ranking.keys), _known(ranking)
    for name in by:
        if name not in known:
            varying = ", ".join(short.values()) or "none"
            raise RequestError(f"by={name} does not vary between these runs; these keys do: {varying}")
    keys = [known[name] for name in by]
    figure, (axes,) = _panels(1)
    if len(keys) == 1:
        _draw_against(axes, ranking, keys[0])
        axes.set(xlabel=escaping.label(short[keys[0]]), ylabel=f"{metric} loss (nats per {ranking.unit})")
        axes.grid(alpha=0.3)
    else:
        _draw_map(figure, axes, ranking, keys[0], keys[1])
        axes.set(
            xlabel=escaping.label(short[keys[0]]),
            ylabel=escaping.label(short[keys[1]]),
            title=f"{metric} loss (nats per {ranking.unit}), lowest over other keys",
        )
    write_png(path, figure)


def varies(ranking: Ranking, by: Sequence[str]) -> bool:
    """Whether each of these keys or sizes varies between the runs of a ranking."""
    return _known(sizes.with_sizes(ranking, by)).keys() >= set(by)


def _known(ranking: Ranking) -> dict[str, str]:
    """The keys that vary, by each name that they go by."""
    short = names(ranking.keys)
    return {name: key for key, end in short.items() for name in (key, end, key.removesuffix("._target_"))}


def _draw_against(axes: "Axes", ranking: Ranking, key: str) -> None:
    lines = _lines(ranking.groups, key)
    values = [group.values[key] for group in ranking.groups]
    is_numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    learned = _learned(ranking)
    for number, (name, groups) in enumerate(itertools.islice(lines.items(), _MOST_COLOURS)):
        if is_numeric:
            groups.sort(key=lambda group: group.values[key])
        x = {id(g): g.values[key] if is_numeric else escaping.label(shown(key, g.values[key])) for g in groups}
        kept = [group for group in groups if group in learned]
        errors = [group.deviation or 0.0 for group in kept]
        places, text = [x[id(group)] for group in kept], escaping.label(name) or None
        axes.errorbar(places, [g.mean for g in kept], errors, marker="o", capsize=3, color=f"C{number}", label=text)
        for group in (group for group in groups if group not in learned):
            axes.plot(x[id(group)], 0.97, "x", color=f"C{number}", transform=axes.get_xaxis_transform())
    if is_numeric and min(values) > 0 and max(values) >= 8 * min(values):
        _log_scale(axes)
    if is_numeric and len(set(values)) <= _MOST_TICKS:
        axes.minorticks_off()
        axes.set_xticks(sorted(set(values)))
    if len(learned) < len(ranking.groups):
        axes.plot([], [], "x", color="grey", label="diverged")
        axes.margins(y=0.1)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize="small")


def _lines(groups: list[Group], key: str) -> dict[str, list[Group]]:
    """The groups of each combination of the other keys, by its name, in the order of their values."""
    rest = [other for other in groups[0].values if other != key]
    short = names([*groups[0].values])
    lines: dict[str, list[Group]] = defaultdict(list)
    for group in groups:
        lines[", ".join(f"{short[k]}={shown(k, group.values[k])}" for k in rest)].append(group)
    try:
        return dict(sorted(lines.items(), key=lambda line: [line[1][0].values[k] for k in rest]))
    except TypeError:  # of several types
        return dict(lines)


def _draw_map(figure: "Figure", axes: "Axes", ranking: Ranking, x: str, y: str) -> None:
    columns, rows = (_ordered({repr(g.values[key]): g.values[key] for g in ranking.groups}) for key in (x, y))
    losses = [[float("nan")] * len(columns) for _ in rows]
    for group in reversed(ranking.groups):  # the best last, so that it stays visible
        losses[rows.index(group.values[y])][columns.index(group.values[x])] = group.mean
    image = axes.imshow(
        losses, cmap="viridis_r", origin="lower", aspect="auto", vmax=max(group.mean for group in _learned(ranking))
    )
    figure.colorbar(image, ax=axes)
    axes.set_xticks(range(len(columns)), [escaping.label(shown(x, value)) for value in columns])
    axes.set_yticks(range(len(rows)), [escaping.label(shown(y, value)) for value in rows])
    for i, j in itertools.product(range(len(rows)), range(len(columns))):
        if losses[i][j] == losses[i][j]:
            axes.text(j, i, f"{losses[i][j]:.3f}", ha="center", va="center",
                      bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 1.5})  # fmt: skip


def _learned(ranking: Ranking) -> list[Group]:
    """The groups that have not diverged, or all groups if all have."""
    return [group for group in ranking.groups if group.standing != WORSE_THAN_GUESSING] or ranking.groups


def _ordered(values: dict[str, Any]) -> list[Any]:
    try:
        return sorted(values.values())
    except TypeError:  # of several types
        return list(values.values())


def _log_scale(axes: "Axes") -> None:
    """A logarithmic horizontal axis with plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _panels(count: int) -> tuple["Figure", list["Axes"]]:
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(9, 5.5 * count), layout="constrained")
    return figure, list(figure.subplots(count, squeeze=False)[:, 0])
