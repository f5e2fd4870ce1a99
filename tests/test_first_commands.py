"""The README's first commands, run as it writes them: v5 ends with its documented loss, and writes a text."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, succeeded

pytestmark = pytest.mark.slow

COMMANDS = re.findall(r"^(?:.*&& )?(python .*?)(?: +#.*)?$", (REPOSITORY / "README.md").read_text(), re.MULTILINE)


def copy_of_the_repository(folder: Path) -> Path:
    """A copy with all that the commands of the pages need."""
    for name in ("gpt", "conf"):
        shutil.copytree(REPOSITORY / name, folder / name)
    for path in (*REPOSITORY.glob("*.py"), REPOSITORY / "README.md"):
        shutil.copy(path, folder)
    (folder / "data").symlink_to(REPOSITORY / "data")
    return folder


def run_as_written(command: str, folder: Path) -> subprocess.CompletedProcess:
    """A command in a shell; `python` is the interpreter that runs the tests."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": str(folder), "PATH": path}
    streams = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    done = succeeded(subprocess.run(command, shell=True, cwd=folder, env=environment, **streams))
    assert "Traceback" not in done.stderr
    return done


def test_v5_ends_with_its_documented_loss(tmp_path: Path) -> None:
    """tests/release/test_reproduction.py trains all stages with three seeds."""
    folder = copy_of_the_repository(tmp_path)
    train, generate = COMMANDS
    assert train == "python train.py model=v5"
    assert "2.0808" in run_as_written(train, folder).stdout
    (path,) = folder.glob("runs/*/*/summary.json")
    summary = json.loads(path.read_text())
    assert summary["estimated"]["val"]["nats"] == pytest.approx(2.0808, abs=0.03)
    assert summary["exact"]["nats"] == pytest.approx(2.0808, abs=0.03)
    assert run_as_written(generate, folder).stdout.startswith("ROMEO:")
