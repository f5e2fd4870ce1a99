"""The report of compare.py and of a sweep: tables for people and papers, and a picture."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpt.base.console import command
from gpt.base.errors import RequestError, printable
from gpt.base.files import check_output, try_write, write_atomically
from gpt.base.pictures import FORMATS, is_picture, picture
from gpt.config.command_schemas import CompareConfig
from gpt.config.schema import TOKENIZER_KEYS
from gpt.reports import documented, plots, reference_losses, tables
from gpt.reports.documented import Comparison
from gpt.reports.ranking import Ranking, rankings
from gpt.runs.finding import FinishedRun, finished_runs, started_runs
from gpt.runs.folder import RunFolder
from gpt.runs.records import LOSSES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENDINGS = (".md", ".tex", ".csv", *FORMATS)
_OF_RUNS = "runs.csv"  # one row per run; any other .csv has one per group


@dataclass(frozen=True)
class ComparisonReport:
    """The documented runs beside their documented losses, and all runs ranked."""

    config: CompareConfig
    comparison: Comparison
    rankings: list[Ranking]  # of all runs
    ranked: list[Ranking]  # to show: none if all runs are documented ones
    x: plots.Axis  # of the curves

    @classmethod
    def of(cls, runs: list[FinishedRun], others: list[RunFolder], config: CompareConfig) -> "ComparisonReport":
        """Compare finished runs, the oldest first; `others` have not finished.

        A run that cannot be compared is left out, with a warning.
        """
        comparison = documented.compare(runs, tolerance=config.tolerance)
        ranked = rankings(runs, config.metric, others)
        is_documented_only = bool(comparison.rows) and not (others or any(run.summary.changes for run in runs))
        is_of_losses = config.metric in LOSSES and not config.by
        shown = [] if is_documented_only and is_of_losses else ranked
        counted = [run for ranking in ranked for run in ranking.runs]  # without damaged runs
        is_timed = bool(counted) and all(run.folder.config().training.budget is not None for run in counted)
        return cls(config, comparison, ranked, shown, config.x or ("seconds" if is_timed else "iterations"))

    def __repr__(self) -> str:
        return self.text("simple")

    def text(self, style: str) -> str:
        """The tables in a style of tabulate: "github" for Markdown, "simple" for a terminal."""
        parts = [documented.table(self.comparison, style)] if self.comparison.rows else []
        for ranking in self.ranked:
            parts.append(tables.table(ranking, self.config.metric, style))
            if self.x != "iterations" and (equal := tables.equal_table(ranking, self.x, style)):
                parts.append(equal)
        return "\n\n".join(parts)

    def write(self, path: Path) -> None:
        """Write what the ending of `path` asks for, replacing the file.

        Raises RequestError for another ending, if `by` does not vary, or if there is no curve to draw.
        """
        check_output(path, ENDINGS)
        kind = path.suffix.lower()
        content = picture(self._picture(), kind[1:]) if is_picture(path) else self._text(kind, path.name == _OF_RUNS)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)

    def _text(self, kind: str, is_of_runs: bool) -> str:
        if kind == ".md":
            return self.text("github") + "\n"
        if kind == ".tex":
            return "\n".join(tables.as_latex(ranking, self.config.metric) for ranking in self.rankings)
        return (tables.runs_csv if is_of_runs else tables.groups_csv)(self.rankings)

    def _picture(self) -> "Figure":
        """The loss against the key `by`, or the curves, with a panel for each ranking."""
        title, metric = self.config.title, self.config.metric
        if by := self.config.by:
            return reference_losses.draw(self._against(by), by, metric, title)
        if (figure := plots.draw(self.comparison, self.ranked, self.x, title, metric=metric)) is None:
            raise RequestError("none of these runs has a curve to draw")
        return figure

    def _against(self, by: str) -> list[Ranking]:
        """The rankings to draw against a key: for one of the corpus, one of all runs.

        Runs with another data.distance, for example, are in another ranking, so the key varies in none.
        """
        varying = [ranking for ranking in self.ranked if reference_losses.varies(ranking, by)]
        if len(self.ranked) > 1 and not varying:
            (joined,) = rankings(
                [run for ranking in self.ranked for run in ranking.runs], self.config.metric, joined=True
            )
            # Exact losses of one text with other tokens are in one ranking; estimates cannot be compared.
            name = by.removeprefix("data.")
            if reference_losses.varies(joined, by) and name not in TOKENIZER_KEYS and f"data.{name}" in joined.keys:
                return [joined]
        return varying or self.ranked


def compared(config: CompareConfig, folders: Sequence[Path]) -> ComparisonReport:
    """The comparison of the selected runs below these folders.

    Raises RequestError if none has finished, or can be compared.
    """
    runs = finished_runs(*folders, stages=config.stage, tags=config.tags)
    others = started_runs(*folders, stages=config.stage, tags=config.tags, is_finished=False)[::-1]  # oldest first
    report = ComparisonReport.of(runs, others, config)
    if not (report.comparison.rows or report.rankings):
        raise RequestError("none of these runs can be compared: the warnings above say why")
    return report


def print_comparison(folder: Path, config: CompareConfig) -> None:
    """For a sweep of several runs, print the documented runs beside their documented losses, and rank all runs.

    The curves are drawn in its folder.
    """
    if len(list(folder.glob("*/config.yaml"))) < 2 or not list(folder.glob("*/summary.json")):
        return
    report = ComparisonReport.of(finished_runs(folder), started_runs(folder, is_finished=False)[::-1], config)
    if report.comparison.rows:
        print(f"\n{documented.table(report.comparison, 'simple')}")
    for ranking in report.rankings:
        print(f"\n{tables.table(ranking, config.metric, 'simple')}")
    path = folder / "compare.png"

    def draw() -> None:
        report.write(path)

    said = f"picture of the curves: {path}; " if try_write("the picture of the curves", draw) else ""
    print("\n" + printable(f"{said}the tables: {command('compare')} runs={shlex.quote(str(folder))}"))
