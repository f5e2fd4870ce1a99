"""Documented and measured losses, side by side."""

import statistics
from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

from tabulate import tabulate

from gpt.base.ladder import rank
from gpt.reports.escaping import markdown
from gpt.runs.finding import FinishedRun
from gpt.runs.records import Summary

Split = Literal["train", "val"]


@dataclass(frozen=True)
class Row:
    """A row of the comparison: one loss of one stage. Losses in nats per token; `measured` is the estimated loss."""

    stage: str
    split: str
    documented: float | None
    kind: str | None
    seeds: list[int]
    measured: float  # the mean over seeds
    deviation: float | None  # the sample standard deviation over seeds; None for one seed
    exact: float | None  # the mean over seeds, for the validation split, if all are over the same targets
    difference: float | None  # measured - documented, if they are comparable
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """The rows of all stages, and the runs that they count."""

    rows: list[Row]
    counted: dict[str, list[FinishedRun]]  # by stage


def compare(runs: list[FinishedRun], *, tolerance: float) -> Comparison:
    """Group finished runs, the oldest first, by stage and seed.

    Only the newest run of a stage and seed is counted. Runs with changed hyperparameters are not.
    """
    newest: dict[tuple[str, int], FinishedRun] = {}
    for run in runs:
        if not run.summary.changes:
            newest[run.summary.stage, run.summary.seed] = run
    counted = defaultdict(list)
    for (stage, _), run in sorted(newest.items(), key=lambda found: (rank(found[0][0]), found[0][1])):
        counted[stage].append(run)
    rows = []
    for stage_runs in counted.values():
        summaries = [summary for _, summary in stage_runs]
        documented = summaries[0].documented
        if documented.train is not None and documented.kind != "mini-batch":
            rows.append(_row(summaries, "train", tolerance))
        rows.append(_row(summaries, "val", tolerance))
    return Comparison(rows, dict(counted))


def _row(summaries: list[Summary], split: Split, tolerance: float) -> Row:
    documented = summaries[0].documented
    losses: list[float] = [getattr(summary.estimated, split).nats for summary in summaries]
    measured = statistics.mean(losses)
    figure, difference = getattr(documented, split), None
    if documented.kind == "mini-batch":
        figure = documented.train
        last = [summary.last_batch.nats for summary in summaries if summary.last_batch is not None]
        verdict = "not comparable: documented is the loss of one mini-batch"
        verdict += f"; the last ones here average {statistics.mean(last):.4f}" if last else ""
    elif figure is None:
        verdict = "none documented; filled in here"
    else:
        difference = measured - figure
        verdict = f"{'agrees within' if abs(difference) <= tolerance else 'differs by more than'} {tolerance:g}"
    is_exact = split == "val" and len({summary.exact.key for summary in summaries}) == 1
    return Row(
        stage=summaries[0].stage,
        split=split,
        documented=figure,
        kind=documented.kind,
        seeds=[summary.seed for summary in summaries],
        measured=measured,
        deviation=statistics.stdev(losses) if len(losses) > 1 else None,
        exact=statistics.mean(summary.exact.nats for summary in summaries) if is_exact else None,
        difference=difference,
        verdict=verdict,
    )


def table(comparison: Comparison, style: str) -> str:
    """The comparison as text in a style of tabulate: "github" for Markdown, "simple" for a terminal."""
    headers = ["stage", "split", "documented", "measured", "seeds", "exact", "difference", "verdict"]
    cells = [
        [
            markdown(row.stage) if style == "github" else row.stage,
            row.split,
            "-" if row.documented is None else f"{row.documented:.4f}" + (" *" if row.kind == "mini-batch" else ""),
            with_deviation(row.measured, row.deviation),
            len(row.seeds),
            "-" if row.exact is None else f"{row.exact:.4f}",
            "-" if row.difference is None else f"{row.difference:+.4f}",
            row.verdict,
        ]
        for row in comparison.rows
    ]
    summaries = [summary for runs in comparison.counted.values() for _, summary in runs]
    which = " or ".join(sorted({summary.exact.over.targets for summary in summaries}))
    return (
        f"{tabulate(cells, headers, tablefmt=style, disable_numparse=True)}\n\n"
        "Nats per token. measured: the loss estimated over random batches after the last iteration, mean ± "
        f"standard deviation over seeds. exact: {which} of the validation split once, mean over seeds "
        "where all took the same. "
        "*: the loss on one training mini-batch, which varies by about 0.1."
    )


def with_deviation(mean: float, deviation: float | None) -> str:
    """A mean and, for several seeds, the standard deviation."""
    return f"{mean:.4f}" + ("" if deviation is None else f" ± {deviation:.4f}")
