"""The report of compare.py and of a sweep: tables for people and programs, and pictures."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpt.base.console import command
from gpt.base.errors import RequestError, printable
from gpt.base.files import attempt, check_below_folder, check_output, write_atomically
from gpt.base.pictures import FORMATS, is_picture, write_picture
from gpt.config.command_schemas import CompareConfig
from gpt.config.schema import TOKENIZER_KEYS
from gpt.reports import against, documented, plots, tables
from gpt.reports.documented import Comparison
from gpt.reports.ranking import Ranking, rankings
from gpt.runs.finding import FinishedRun, finished_runs, started_runs
from gpt.runs.folder import RunFolder
from gpt.runs.records import LOSSES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CURVES = "compare.png"


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
            parts.append(tables.table(ranking, self.config.metric, style, self.config.by or []))
            if self.x != "iterations" and (equal := tables.equal_table(ranking, self.x, style)):
                parts.append(equal)
        return "\n\n".join(parts)

    def write(self, out: Path) -> list[Path]:
        """Write the tables and the pictures to a folder, and return their paths.

        Raises RequestError, before anything is written, for a key of `by` that does not vary, and if `out` is a file.
        """
        pictures = self._pictures()
        check_below_folder(out)
        record = documented.as_record(self.comparison) | {"rankings": tables.as_records(self.ranked)}
        texts = {
            "compare.json": json.dumps(record, indent=2) + "\n",
            "compare.md": self.text("github") + "\n",
            "compare.csv": tables.as_csv(self.rankings),
        }
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_atomically(out / name, text)
        for name, figure in pictures.items():
            write_picture(out / name, figure)
        return [out / name for name in (*texts, *pictures)]

    def write_picture(self, path: Path) -> list[Path]:
        """Write the picture of the curves alone, replacing the file. Raises RequestError if there are none."""
        if (figure := self._curves(with_ends=True)) is None:
            raise RequestError("none of these runs has a curve to draw")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_picture(path, figure)
        return [path]

    def _curves(self, *, with_ends: bool = False) -> "Figure | None":
        title, metric = self.config.title, self.config.metric
        return plots.draw(self.comparison, self.ranked, self.x, title, metric=metric, with_ends=with_ends)

    def _pictures(self) -> "dict[str, Figure]":
        """The loss curves, one panel per ranking, and with `by` the loss against those keys, by their file's name."""
        curves, by, against_keys = self._curves(), self.config.by or [], self._against()
        pictures = {_CURVES: curves} if curves else {}
        for number, ranking in enumerate(against_keys, start=1):
            name = "compare_by.png" if len(against_keys) == 1 else f"compare_by_{number}.png"
            pictures[name] = against.draw(ranking, by, self.config.metric)
        return pictures

    def _against(self) -> list[Ranking]:
        """The rankings to draw against the keys in `by`: for a key of the corpus, one of all runs.

        Runs with another data.distance, for example, are in another ranking, so the key varies in none.
        """
        by = self.config.by
        if not by:
            return []
        varying = [ranking for ranking in self.ranked if against.varies(ranking, by)]
        if len(self.ranked) > 1 and not varying:
            (joined,) = rankings(
                [run for ranking in self.ranked for run in ranking.runs], self.config.metric, joined=True
            )
            # Exact losses of one text with other tokens are in one ranking; estimates cannot be compared.
            names = [name.removeprefix("data.") for name in by]
            of_corpus = {f"data.{name}" for name in names if name not in TOKENIZER_KEYS}
            if against.varies(joined, by) and not of_corpus.isdisjoint(joined.keys):
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


def check_place(out: Path) -> None:
    """Raise RequestError unless a comparison can be written to `out`, a picture or a folder."""
    if is_picture(out) or (out.suffix and not out.is_dir()):
        check_output(out, FORMATS)
    else:
        check_below_folder(out)


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
    path = folder / _CURVES

    def draw() -> None:
        report.write_picture(path)

    said = f"picture of the curves: {path}; " if attempt("the picture of the curves", draw) else ""
    print("\n" + printable(f"{said}all tables and pictures: {command('compare')} runs={shlex.quote(str(folder))}"))
