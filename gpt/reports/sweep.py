"""The report at the end of a sweep."""

import shlex
from pathlib import Path

from gpt.base.console import command
from gpt.cli.composing import composed
from gpt.reports import documented, tables
from gpt.reports.ranking import rankings
from gpt.runs.finding import finished_runs, unfinished_runs


def print_comparison(folder: Path) -> None:
    """For a sweep of several runs, print the documented runs beside their documented losses, and rank all runs."""
    if len(list(folder.glob("*/config.yaml"))) < 2 or not list(folder.glob("*/summary.json")):
        return
    runs = finished_runs(folder)
    comparison = documented.compare(runs, tolerance=composed("compare", [])[0]["tolerance"])
    if comparison.rows:
        print(f"\n{documented.table(comparison, 'simple')}")
    for ranking in rankings(runs, "exact", unfinished_runs(folder)):
        print(f"\n{tables.table(ranking, 'exact', 'simple')}")
    print(f"\nfull report, with pictures: {command('compare')} runs={shlex.quote(str(folder))}")
