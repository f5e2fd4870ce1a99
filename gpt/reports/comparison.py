"""The report of compare.py, as tables for people and programs and as pictures; and that at the end of a sweep."""

import json
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gpt.base.command_schemas import CompareConfig
from gpt.base.console import command
from gpt.base.errors import RequestError
from gpt.base.files import write_atomically
from gpt.base.keys import declared
from gpt.cli.composing import composed
from gpt.reports import against, documented, plots, tables
from gpt.reports.curves import Equal, at_equal
from gpt.reports.documented import Comparison
from gpt.reports.ranking import Ranking, rankings
from gpt.runs.finding import FinishedRun, finished_runs, started_runs
from gpt.runs.folder import RunFolder
from gpt.runs.records import LOSSES

_TABLES = ("compare.json", "compare.md", "compare.csv")  # the first is written first, and says that the others are ours


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
        for ranking, equal in zip(self.ranked, self._equal, strict=True):
            parts.append(tables.table(ranking, self.config.metric, style))
            parts += [tables.equal_table(equal, self.config.x, style)] if equal else []
        return "\n\n".join(parts)

    def write(self, out: Path) -> list[Path]:
        """Write the tables and the pictures to a folder, and return their paths.

        Raises RequestError, before anything is written, for a key of `by` that does not vary, and if the folder has a
        file of such a name that is not from an earlier comparison.
        """
        _check_own(out, self._by_keys)
        for ranking in self._against:
            against.check(ranking, self.config.by or [])
        out.mkdir(parents=True, exist_ok=True)
        if (out / _TABLES[0]).exists():  # the pictures of an earlier comparison, which this one may not have
            for path in [out / "compare.png", out / "compare_by.png", *out.glob("compare_by_[0-9]*.png")]:
                path.unlink(missing_ok=True)
        record = documented.as_record(self.comparison) | {"rankings": tables.as_records(self.ranked)}
        texts = (json.dumps(record, indent=2) + "\n", self.text("github") + "\n", tables.as_csv(self.rankings))
        for name, text in zip(_TABLES, texts, strict=True):
            write_atomically(out / name, text)
        return [*(out / name for name in _TABLES), *self._draw(out)]

    def write_picture(self, path: Path) -> list[Path]:
        """Write the picture of the curves alone. Raises RequestError if there are none, or if `path` is a folder."""
        if path.is_dir():
            raise RequestError(f"out={path} is a folder, but its name is one of a picture: choose another")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not plots.curves(self.comparison, self.ranked, self.config.x, path, self.config.title):
            raise RequestError("none of these runs has a curve to draw")
        return [path]

    def _draw(self, out: Path) -> list[Path]:
        """The loss curves, one picture per ranking, and with `by` the loss against those keys."""
        written = []
        if plots.curves(self.comparison, self.ranked, self.config.x, out / "compare.png", self.config.title):
            written.append(out / "compare.png")
        for name, ranking in zip(self._by_keys, self._against, strict=True):
            against.draw(ranking, self.config.by or [], self.config.metric, out / name)
            written.append(out / name)
        return written

    @cached_property
    def _equal(self) -> list[Equal | None]:
        """The losses of each ranking at an equal amount of `x`, if it is not iterations."""
        return [None if self.config.x == "iterations" else at_equal(ranking, self.config.x) for ranking in self.ranked]

    @property
    def _by_keys(self) -> list[str]:
        """The names of the pictures of the loss against the keys in `by`."""
        count = len(self._against)
        return ["compare_by.png"] if count == 1 else [f"compare_by_{number}.png" for number in range(1, count + 1)]

    @cached_property
    def _against(self) -> list[Ranking]:
        """What to draw against the keys in `by`: the rankings, or all runs as one for a key of the corpus.

        Runs with another data.distance, for example, are in another ranking, so it varies in none.
        """
        by = self.config.by
        if not by:
            return []
        if len(self.ranked) > 1 and not any(against.varies(ranking, by) for ranking in self.ranked):
            runs = [run for ranking in self.ranked for group in ranking.groups for run in group.runs]
            (joined,) = rankings(runs, self.config.metric, joined=True)
            # With other tokens of one text, exact losses are in one ranking, and others cannot be compared.
            of_corpus = {key for name in by if not declared(key := f"data.{name.removeprefix('data.')}").splits_tokens}
            if against.varies(joined, by) and not of_corpus.isdisjoint(joined.keys):
                return [joined]
        return [ranking for ranking in self.ranked if against.varies(ranking, by)] or self.ranked


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


def _check_own(out: Path, by_keys: list[str]) -> None:
    """Raise RequestError if a file here is not from a comparison, which may have been cut off after its first file."""
    there = [name for name in (*_TABLES, "compare.png", *by_keys) if (out / name).exists()]
    if there and not _is_record(out / _TABLES[0]):
        raise RequestError(
            f"{out / there[0]} is not from a comparison, which writes {', '.join(_TABLES)} together: "
            "move it, or choose another folder with out=FOLDER"
        )


def _is_record(path: Path) -> bool:
    """Whether a comparison has written this file."""
    try:
        return "rankings" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RecursionError):
        return False
