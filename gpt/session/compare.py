"""Compare runs with the documented losses and with each other: python compare.py. See python compare.py --help."""

from pathlib import Path

from gpt.config.command_schemas import CompareConfig
from gpt.config.request import Request


def main(config: CompareConfig, _: Request) -> None:
    """Print the tables of all runs, and write them as Markdown, CSV, JSON and pictures."""
    # Imported here so that --help and tab completion do not pay for importing matplotlib.
    from gpt.base.errors import printable
    from gpt.base.pictures import is_picture
    from gpt.reports.comparison import check_place, compared
    from gpt.runs.naming import roots

    folders = roots(config.runs)
    out = Path(config.out) if config.out else _place(folders)
    check_place(out)  # before the tables are printed
    report = compared(config, folders)
    print(report.text("simple"), flush=True)
    written = report.write_picture(out) if is_picture(out) else report.write(out)
    print(printable(f"\nwritten: {', '.join(map(str, written))}", keep="\n"))


def _place(folders: list[Path]) -> Path:
    """The folder of the runs; the current one for several folders, or for a run folder, which stays as it is."""
    from gpt.runs.folder import holds_run

    is_run = holds_run(folders[0])
    return folders[0] if len(folders) == 1 and not is_run else Path()
