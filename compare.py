"""Compare runs with what was documented and with each other: python compare.py. See python compare.py --help."""

import json
from pathlib import Path

from gpt import cli
from gpt.config import CompareConfig


def main(config: CompareConfig) -> None:
    """Print the tables of all finished runs, and write them as Markdown, CSV, JSON and pictures."""
    from gpt.errors import printable
    from gpt.files import write_atomically
    from gpt.runs import plots, tables
    from gpt.runs.comparison import as_record, compare, table
    from gpt.runs.finding import finished_runs, roots
    from gpt.runs.grouping import rankings

    folders = roots(config.runs)
    runs = finished_runs(*folders, stage=config.stage, tags=config.tags)
    comparison = compare(runs, tolerance=config.tolerance)
    everything = rankings(runs, config.metric)
    is_documented_only = bool(comparison.rows) and not any(summary.changed for _, summary in runs)
    ranked = [] if is_documented_only and not config.by else everything

    def shown(style: str) -> str:
        parts = [table(comparison, style)] if comparison.rows else []
        return "\n\n".join([*parts, *(tables.table(ranking, config.metric, style) for ranking in ranked)])

    print(shown("simple"), flush=True)
    out = Path(config.out or folders[0])
    out.mkdir(parents=True, exist_ok=True)
    record = as_record(comparison) | {"rankings": tables.as_records(ranked)}
    content = {
        "compare.md": shown("github") + "\n",
        "compare.json": json.dumps(record, indent=2) + "\n",
        "compare.csv": tables.as_csv(everything),
    }
    for name, text in content.items():
        write_atomically(out / name, text)
    written = [out / name for name in content]
    if plots.curves(comparison, ranked, config.x, out / "compare.png"):
        written.append(out / "compare.png")
    by = [config.by] if isinstance(config.by, str) else config.by or []
    for number, ranking in enumerate(ranked if by else [], start=1):
        path = out / ("compare_by.png" if len(ranked) == 1 else f"compare_by_{number}.png")
        plots.against(ranking, by, config.metric, path)
        written.append(path)
    print(printable(f"\nwritten: {', '.join(map(str, written))}", keep="\n"))


if __name__ == "__main__":
    cli.main(main, CompareConfig, "compare", verbatim=("runs", "out"))
