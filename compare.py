"""Compare documented with measured losses: python compare.py. See python compare.py --help."""

from pathlib import Path

from gpt import cli
from gpt.config import CompareConfig


def main(config: CompareConfig) -> None:
    """Print the table of all finished runs, and write it as Markdown, JSON and a plot."""
    from gpt.errors import printable
    from gpt.files import write_atomically
    from gpt.runs.comparison import as_json, compare, plot, table
    from gpt.runs.folder import finished_runs

    comparison = compare(finished_runs(Path(config.runs), config.stage), tolerance=config.tolerance)
    print(table(comparison, "simple"), flush=True)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "compare.md", table(comparison, "github") + "\n")
    write_atomically(out / "compare.json", as_json(comparison))
    written = [out / "compare.md", out / "compare.json"]
    if plot(comparison, out / "compare.png"):
        written.append(out / "compare.png")
    print(printable(f"\nwritten: {', '.join(map(str, written))}", keep="\n"))


if __name__ == "__main__":
    cli.main(main, CompareConfig, "compare", verbatim=())
