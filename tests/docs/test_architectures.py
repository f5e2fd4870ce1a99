"""The commands of docs/lab/architectures.md, each in a short form."""

import itertools
import re
import shlex
from pathlib import Path

import pytest

from docs.captions import numbers, of_architectures, table
from gpt.runs.finding import finished_runs
from tests.conftest import REPOSITORY, Script

DOCS = REPOSITORY / "docs"
PAGE = (DOCS / "lab" / "architectures.md").read_text()
COMMANDS = [
    line for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]
FEW = ["training.max_iters=2", "training.eval_interval=1", "training.eval_iters=1", "device=cpu"]
SMALL = {
    "recall": ["data.size=200", "data.distance=4,16"],
    "repeat": ["data.size=200", "data.distance=4,16"],
    "scaling": ["training.max_iters=1,2", "model.n_embd=16,24"],
}


def shortened(arguments: list[str]) -> list[str]:
    experiment = next(argument.partition("=")[2] for argument in arguments if argument.startswith("experiment="))
    has_text = experiment in ("recall", "repeat") or "data=text" in arguments
    text = [] if has_text else ["data=text", "data.path=corpus.txt", "training.batch_size=2"]
    is_one_run = "model.n_embd=248" in arguments
    given = [*arguments, *FEW, *text, *([] if is_one_run else SMALL.get(experiment, []))]
    return given if experiment == "scaling" else [*given, "seed=1"]


def test_what_the_course_says_of_architectures_stands_in_the_tables() -> None:
    """Its charts are drawn from the same tables."""
    course = " ".join((DOCS / "course" / "architectures.md").read_text().split())
    _, losses = table("**Equal parameters.**")
    v6, gru = (numbers(losses[name][1])[0] for name in ("v6", "gru"))
    phrases = [*itertools.chain(*of_architectures().values()), f"v6 has a loss of {v6:.2f}", f"**{gru:.2f}**"]
    assert [phrase for phrase in phrases if phrase not in course] == []
    assert course.count("> **What do you expect?**") == course.count("<!-- picture: ") == 5


@pytest.mark.slow
def test_the_commands_of_the_page_run(called: Script, text: str, tmp_path: Path) -> None:
    for name in ("corpus.txt", "linux_c.txt"):
        (tmp_path / name).write_text(text)
    for command in COMMANDS:
        program, name, *arguments = shlex.split(command)
        assert program == "python"
        if name in ("benchmarks/architectures.py", "docs/scaling.py", "docs/positions.py"):
            continue  # tested in test_benchmarks.py, test_scaling.py and test_positions.py
        if name == "train.py":
            arguments = shortened(arguments)
        if name == "search.py":
            arguments += ["n_trials=1", *FEW, "data=text", "data.path=corpus.txt", "training.batch_size=2"]
        done = called(name, *arguments, cwd=tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        if name == "compare.py" and any(argument.startswith("by=") for argument in arguments):
            (folder,) = (argument.partition("=")[2] for argument in arguments if argument.startswith("runs="))
            assert (tmp_path / folder / "compare_by.png").stat().st_size > 0
    for sweep in ("v6_parts", "architectures/64", "recall", "repeat", "scaling"):
        folder = tmp_path / "runs" / sweep
        assert finished_runs(folder)
        assert (folder / "compare.png").stat().st_size > 0
    for sweep in ("scaling_predicted", "scaling_linux", "scaling_linux_predicted"):
        assert finished_runs(tmp_path / "runs" / sweep)
