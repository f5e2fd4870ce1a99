"""The report of compare.py, as tables for people and programs and as pictures; and that at the end of a sweep."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpt.base.command_schemas import CompareConfig
from gpt.base.console import command
from gpt.base.errors import RequestError
from gpt.base.files import write_atomically
from gpt.base.keys import declared
from gpt.base.pictures import write_picture
from gpt.cli.composing import composed
from gpt.reports import against, documented, plots, tables
from gpt.reports.documented import Comparison
from gpt.reports.ranking import Ranking, rankings
from gpt.runs.finding import FinishedRun, finished_runs, started_runs
from gpt.runs.folder import RunFolder
from gpt.runs.records import LOSSES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TABLES = ("compare.json", "compare.md", "compare.csv")  # the first is written first, and says that the others are ours
_PICTURES = ("compare.png", "compare_by.png", "compare_by_[0-9]*.png")


@dataclass(frozen=True)
class ComparisonReport:
    """The documented runs beside their documented losses, and all runs ranked."""

    config: CompareConfig
    comparison: Comparison
    rankings: list[Ranking]  # of all runs
    ranked: list[Ranking]  # those to show: none if all runs are documented ones

    @classmethod
    def of(cls, runs: list[FinishedRun], others: list[RunFolder], config: CompareConfig) -> "ComparisonReport":
        """Compare finished runs, the oldest first; `others` have not finished.

        Raises RequestError if all are damaged.
        """
        comparison = documented.compare(runs, tolerance=config.tolerance)
        ranked = rankings(runs, config.metric, others)
        if not (comparison.rows or ranked):
            raise RequestError("none of these runs can be compared: the warnings above say why")
        is_documented_only = bool(comparison.rows) and not (others or any(run.summary.changes for run in runs))
        is_of_losses = config.metric in LOSSES and not config.by
        return cls(config, comparison, ranked, [] if is_documented_only and is_of_losses else ranked)

    def text(self, style: str) -> str:
        """The tables in a style of tabulate: "github" for Markdown, "simple" for a terminal."""
        parts = [documented.table(self.comparison, style)] if self.comparison.rows else []
        for ranking in self.ranked:
            parts.append(tables.table(ranking, self.config.metric, style))
            if self.config.x != "iterations" and (equal := tables.equal_table(ranking, self.config.x, style)):
                parts.append(equal)
        return "\n\n".join(parts)

    def write(self, out: Path) -> list[Path]:
        """Write the tables and the pictures to a folder, and return their paths.

        Raises RequestError, before anything is written, for a key of `by` that does not vary, and if the folder has a
        file of such a name that is not from an earlier comparison.
        """
        earlier = [path for pattern in (*_TABLES, *_PICTURES) for path in sorted(out.glob(pattern))]
        if earlier and not _is_record(out / _TABLES[0]):  # which a comparison that was cut off has, too
            raise RequestError(
                f"{earlier[0]} is not from a comparison, which writes {', '.join(_TABLES)} together: "
                "move it, or choose another folder with out=FOLDER"
            )
        record = documented.as_record(self.comparison) | {"rankings": tables.as_records(self.ranked)}
        texts = (json.dumps(record, indent=2) + "\n", self.text("github") + "\n", tables.as_csv(self.rankings))
        pictures = self._pictures()
        out.mkdir(parents=True, exist_ok=True)
        for path in earlier:
            if path.suffix == ".png":  # which this comparison may not have
                path.unlink()
        for name, text in zip(_TABLES, texts, strict=True):
            write_atomically(out / name, text)
        for name, figure in pictures.items():
            write_picture(out / name, figure)
        return [out / name for name in (*_TABLES, *pictures)]

    def write_picture(self, path: Path) -> list[Path]:
        """Write the picture of the curves alone. Raises RequestError if there are none, or if `path` is a folder."""
        if path.is_dir():
            raise RequestError(f"out={path} is a folder, but its name is one of a picture: choose another")
        if (figure := self._curves()) is None:
            raise RequestError("none of these runs has a curve to draw")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_picture(path, figure)
        return [path]

    def _curves(self) -> "Figure | None":
        return plots.draw(self.comparison, self.ranked, self.config.x, self.config.title)

    def _pictures(self) -> "dict[str, Figure]":
        """The loss curves, one panel per ranking, and with `by` the loss against those keys, by their file's name."""
        curves, by, against_keys = self._curves(), self.config.by or [], self._against()
        pictures = {"compare.png": curves} if curves else {}
        for number, ranking in enumerate(against_keys, start=1):
            name = "compare_by.png" if len(against_keys) == 1 else f"compare_by_{number}.png"
            pictures[name] = against.draw(ranking, by, self.config.metric)
        return pictures

    def _against(self) -> list[Ranking]:
        """What to draw against the keys in `by`: the rankings, or all runs as one for a key of the corpus.

        Runs with another data.distance, for example, are in another ranking, so it varies in none.
        """
        by = self.config.by
        if not by:
            return []
        varying = [ranking for ranking in self.ranked if against.varies(ranking, by)]
        if len(self.ranked) > 1 and not varying:
            (joined,) = rankings(
                [run for ranking in self.ranked for run in ranking.runs], self.config.metric, joined=True
            )
            # With other tokens of one text, exact losses are in one ranking, and others cannot be compared.
            of_corpus = {key for name in by if not declared(key := f"data.{name.removeprefix('data.')}").splits_tokens}
            if against.varies(joined, by) and not of_corpus.isdisjoint(joined.keys):
                return [joined]
        return varying or self.ranked


def print_comparison(folder: Path) -> None:
    """For a sweep of several runs, print the documented runs beside their documented losses, and rank all runs."""
    if len(list(folder.glob("*/config.yaml"))) < 2 or not list(folder.glob("*/summary.json")):
        return
    runs = finished_runs(folder)
    comparison = documented.compare(runs, tolerance=composed("compare", [])[0]["tolerance"])
    if comparison.rows:
        print(f"\n{documented.table(comparison, 'simple')}")
    for ranking in rankings(runs, "exact", started_runs(folder, is_finished=False)[::-1]):
        print(f"\n{tables.table(ranking, 'exact', 'simple')}")
    print(f"\nfull report, with pictures: {command('compare')} runs={shlex.quote(str(folder))}")


def _is_record(path: Path) -> bool:
    """Whether a comparison has written this file."""
    try:
        return "rankings" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RecursionError):
        return False
