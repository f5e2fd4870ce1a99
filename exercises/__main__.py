"""python -m exercises: list the exercises, check one, give a hint, train it."""

import argparse
import subprocess
import sys
from pathlib import Path

import gpt
from exercises.checks import EXERCISES
from exercises.checks.reports import Report, check, check_file, find
from exercises.checks.solved import train
from gpt.base import errors
from gpt.base.console import open_streams
from gpt.base.errors import RequestError

_SECONDS = 60  # for a student's file
_HINTS = Path(__file__).with_name(".hints")  # a line for each hint that was asked for; git ignores it


def main() -> int:
    """The exit code is 0 if what was checked is right, 1 if it is not, and 2 for a wrong command."""
    open_streams()
    parser = argparse.ArgumentParser(prog="python -m exercises", description="Check the exercises of the course.")
    parser.add_argument("exercise", nargs="?", help=f"one of {', '.join(EXERCISES)}; without it, all are listed")
    parser.add_argument(
        "files", nargs="*", help="other files than exercises/NAME.py: a student's, or many or a folder, a line each"
    )
    parser.add_argument("--hint", action="store_true", help="a hint; each time you ask, one that says more")
    parser.add_argument("--train", nargs="*", metavar="KEY=VALUE", help="train it, with keys of train.py if you like")
    given = parser.parse_args()
    try:
        return _listed() if given.exercise is None else _checked(given)
    except (gpt.UserError, OSError) as error:
        line, code = errors.report(error) or ("", 1)
        print(line, file=sys.stderr)
        return code
    except KeyboardInterrupt:
        return 130


def _listed() -> int:
    for name, exercise in EXERCISES.items():
        print(f"{name:10}{check(name).state:22}{exercise.title}")
    return 0


def _of_students(name: str, files: list[str]) -> int:
    """A line for each file, each checked in a process of its own: it can do anything, and may never end."""
    are_right = True
    width = max(len(Path(file).name) for file in files)
    for file in files:
        command = [sys.executable, "-m", "exercises", name, file]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            code, said = 1, [f"it did not end in {_SECONDS} s"]
        else:
            code = done.returncode
            said = [line for line in (done.stdout or done.stderr).splitlines() if not line.endswith(": all right")]
        are_right = are_right and code == 0
        print(f"{Path(file).name:{width}}  {'right' if code == 0 else errors.printable(said[0] if said else '?')}")
    return 0 if are_right else 1


def _checked(given: argparse.Namespace) -> int:
    name = given.exercise
    folders = {file: sorted(map(str, Path(file).glob("*.py"))) for file in given.files if Path(file).is_dir()}
    if empty := [folder for folder, files in folders.items() if not files]:
        raise RequestError(f"there is no .py file in {empty[0]}")
    if folders or len(given.files) > 1:
        return _of_students(name, [found for file in given.files for found in folders.get(file, [file])])
    report = check_file(find(name), Path(given.files[0])) if given.files else check(name)
    print(report)
    if given.files:
        return 0 if report.is_right else 1
    if report.is_right and given.train is not None:
        print(train(name, *given.train))
    elif report.is_right and report.exercise.stage is not None:
        print(f"Train it: python -m exercises {name} --train")
    elif not report.is_right and given.hint:
        print(report.hint(_count_hint(report)))
    elif not report.is_right:
        print(f"Edit exercises/{name}.py. The idea: docs/course/{report.exercise.page}.md.")
        print(f"A hint: python -m exercises {name} --hint")
    return 0 if report.is_right else 1


def _count_hint(report: Report) -> int:
    """How often a hint for the first step that is not right was asked for, including now."""
    line = f"{report.exercise.name}, {report.hints()[0]}\n"
    with _HINTS.open("a+", encoding="utf-8") as file:
        file.write(line)
        file.seek(0)
        return file.readlines().count(line)


if __name__ == "__main__":
    sys.exit(main())
