"""Documented and measured losses of many runs: a table and a plot."""

import io
import itertools
import json
import statistics
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tabulate import tabulate

from gpt.errors import printable
from gpt.files import write_atomically
from gpt.runs.folder import RunFolder
from gpt.runs.records import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Run = tuple[RunFolder, Summary]
Split = Literal["train", "val"]


@dataclass(frozen=True)
class Row:
    """One figure of one stage. Losses in nats per token; `measured` is the estimated loss."""

    stage: str
    split: str
    documented: float | None
    kind: str | None
    seeds: list[int]
    measured: float  # the mean over seeds
    deviation: float | None  # the sample standard deviation over seeds; None for one seed
    exact: float | None  # the mean over seeds; known for the validation split
    difference: float | None  # measured - documented, where the two are comparable
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """The rows of all stages, and the runs that are not counted, with the reason."""

    rows: list[Row]
    counted: dict[str, list[Run]]  # by stage
    not_counted: list[tuple[Run, str]]


def compare(runs: list[Run], *, tolerance: float) -> Comparison:
    """Group finished runs, the oldest first, by stage and seed.

    Only the newest run of a stage and seed is counted. Runs with changed hyperparameters are not.
    """
    newest: dict[tuple[str, int], Run] = {}
    not_counted = []
    for run in runs:
        summary = run[1]
        key = (summary.stage, summary.seed)
        if summary.changed:
            not_counted.append((run, "changed: " + ", ".join(summary.changed)))
            continue
        if key in newest:
            not_counted.append((newest[key], "there is a newer run of this seed"))
        newest[key] = run
    counted = defaultdict(list)
    for (stage, _), run in sorted(newest.items()):
        counted[stage].append(run)
    rows = [row for stage_runs in counted.values() for row in _rows([s for _, s in stage_runs], tolerance)]
    return Comparison(rows, dict(counted), not_counted)


def _rows(summaries: list[Summary], tolerance: float) -> list[Row]:
    """The validation row of a stage, and a train row where such a figure was documented as an estimate."""
    documented = summaries[0].documented
    splits: list[Split] = ["val"] if documented.train is None or documented.kind == "mini-batch" else ["train", "val"]
    return [_row(summaries, split, tolerance) for split in splits]


def _row(summaries: list[Summary], split: Split, tolerance: float) -> Row:
    documented = summaries[0].documented
    losses: list[float] = [getattr(summary.estimated, split) for summary in summaries]
    measured = statistics.mean(losses)
    figure, difference = getattr(documented, split), None
    if documented.kind == "mini-batch":
        figure = documented.train
        last = statistics.mean(summary.last_batch for summary in summaries)
        verdict = f"not comparable: documented is the loss of one mini-batch; the last ones here average {last:.4f}"
    elif figure is None:
        verdict = "none documented; filled in here"
    else:
        difference = measured - figure
        agrees = abs(difference) <= tolerance
        verdict = f"agrees within {tolerance:g}" if agrees else f"differs by more than {tolerance:g}"
    return Row(
        stage=summaries[0].stage,
        split=split,
        documented=figure,
        kind=documented.kind,
        seeds=[summary.seed for summary in summaries],
        measured=measured,
        deviation=statistics.stdev(losses) if len(losses) > 1 else None,
        exact=statistics.mean(summary.exact.val for summary in summaries) if split == "val" else None,
        difference=difference,
        verdict=verdict,
    )


def table(comparison: Comparison, style: str) -> str:
    """The comparison as text in a style of tabulate: "github" for Markdown, "simple" for a terminal."""
    headers = ["stage", "split", "documented", "measured", "seeds", "exact", "difference", "verdict"]
    cells = [
        [
            row.stage,
            row.split,
            "-" if row.documented is None else f"{row.documented:.4f}" + (" *" if row.kind == "mini-batch" else ""),
            f"{row.measured:.4f}" + ("" if row.deviation is None else f" ± {row.deviation:.4f}"),
            len(row.seeds),
            "-" if row.exact is None else f"{row.exact:.4f}",
            "-" if row.difference is None else f"{row.difference:+.4f}",
            row.verdict,
        ]
        for row in comparison.rows
    ]
    parts = []
    if cells:
        parts += [
            tabulate(cells, headers, tablefmt=style, disable_numparse=True),
            "Nats per token. measured: the loss estimated over random batches after the last iteration, mean ± "
            "standard deviation over seeds. exact: every target of the validation split once, mean over seeds. "
            "*: the loss on one training mini-batch, which varies by about 0.1.",
        ]
    if comparison.not_counted:
        cells = [
            [
                s.stage,
                s.seed,
                f"{s.estimated.train:.4f}",
                f"{s.estimated.val:.4f}",
                f"{s.exact.val:.4f}",
                printable(reason).replace("|", "\\|") if style == "github" else printable(reason),
            ]
            for (_, s), reason in comparison.not_counted
        ]
        headers = ["not counted", "seed", "train", "val", "exact val", "reason"]
        parts.append(tabulate(cells, headers, tablefmt=style, disable_numparse=True))
    return "\n\n".join(parts)


def as_json(comparison: Comparison) -> str:
    """The comparison for programs, with the folder of every run."""
    content = {
        "rows": [asdict(row) for row in comparison.rows],
        "counted": {stage: [str(run.path) for run, _ in runs] for stage, runs in comparison.counted.items()},
        "not_counted": [{"run": str(run.path), "reason": reason} for (run, _), reason in comparison.not_counted],
    }
    return json.dumps(content, indent=2) + "\n"


def plot(comparison: Comparison, path: Path) -> bool:
    """Draw the validation loss over iterations, one colour per stage; documented values are crosses at the end.

    Thin lines are seeds; dashed ones are runs that are not counted. Returns whether there was anything to draw.
    """
    from matplotlib.colors import TABLEAU_COLORS  # slow to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    stages = sorted({*comparison.counted, *(run[1].stage for run, _ in comparison.not_counted)})
    colour = dict(zip(stages, itertools.cycle(TABLEAU_COLORS), strict=False))
    for stage, runs in comparison.counted.items():
        for number, (run, _) in enumerate(runs):
            _plot_curve(axes, run, color=colour[stage], linewidth=1, label=stage if number == 0 else None)
    labelled = set()
    for (run, summary), reason in comparison.not_counted:
        if reason.startswith("changed"):
            label = None if summary.stage in labelled else f"{summary.stage}, not the documented run"
            labelled.add(summary.stage)
            _plot_curve(axes, run, color=colour[summary.stage], linewidth=1, linestyle="--", label=label)
    if not axes.lines:
        return False
    for row in comparison.rows:
        if row.documented is not None and row.split == "val":
            end = comparison.counted[row.stage][0][1].iterations
            comparable = row.difference is not None
            marker, mark_colour = ("x", colour[row.stage]) if comparable else ("+", "grey")
            axes.plot(end, row.documented, marker, color=mark_colour, markersize=9, markeredgewidth=2)
    axes.plot([], [], "kx", label="documented")
    axes.plot([], [], "+", color="grey", label="documented, one mini-batch")
    axes.set_xscale("log")
    axes.set(xlabel="iteration (log scale)", ylabel="estimated validation loss (nats per token)")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize="small", ncols=2)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120, format="png")
    write_atomically(path, picture.getvalue())
    return True


def _plot_curve(axes: "Axes", run: RunFolder, **style: Any) -> None:
    lines = [line for line in run.metrics() if line.iteration > 0]  # a log scale has no 0
    if lines:
        axes.plot([line.iteration for line in lines], [line.val for line in lines], marker=".", **style)
