"""Compare runs with the documented losses and with each other: python compare.py. See python compare.py --help."""

from pathlib import Path

from gpt.base.errors import RequestError, printable
from gpt.base.files import check_output
from gpt.base.pictures import is_picture
from gpt.config.command import Command
from gpt.config.command_schemas import CompareConfig
from gpt.reports.comparison import ENDINGS, compared
from gpt.runs.naming import run_dirs


def main(config: CompareConfig, _: Command) -> None:
    """Print the tables of all runs, and write what `out` names: a table or a picture."""
    out = Path(config.out) if config.out else None
    if config.by and not (out and is_picture(out)):
        raise RequestError("by= draws a picture: add its file, as in out=by.png")
    if out:
        check_output(out, ENDINGS)  # before the tables are printed
    report = compared(config, run_dirs(config.runs))
    print(report.text("simple"), flush=True)
    if out:
        report.write(out)
        print(printable(f"\nwritten: {out}", keep="\n"))
    else:
        print("\na file of it: out=table.md, .tex or .csv; a picture: out=picture.png, .svg or .pdf")
