"""Every command of docs/lab/sweeps.md runs, in a short form."""

import shlex
import shutil
from pathlib import Path

from gpt.runs.finding import finished_runs
from tests.cli.test_sweeps import COMMANDS, SHORT
from tests.conftest import Script, succeeded


def test_the_commands_of_the_page_run(script: Script, corpus_file: Path, tmp_path: Path) -> None:
    shutil.copy(corpus_file, tmp_path / "corpus.txt")
    for command in COMMANDS:
        program, name, *arguments = shlex.split(command)
        assert program == "python"
        if name == "train.py":
            arguments += SHORT if "records/" in command else [*SHORT, "data=text", "data.path=corpus.txt", "seed=1"]
        assert "Traceback" not in succeeded(script(name, *arguments, cwd=tmp_path)).stderr
    runs = {path.name: len(finished_runs(path)) for path in (tmp_path / "runs").iterdir() if path.is_dir()}
    assert runs == {
        "ladder": 7,
        "lr_range": 18,
        "first_weights": 8,
        "context_length": 6,
        "heads": 6,
        "vocabulary": 6,
        "temperature": 1,
    }
    for sweep in runs:
        picture = "temperature.png" if sweep == "temperature" else "compare.png"
        assert (tmp_path / "runs" / sweep / picture).stat().st_size > 0
