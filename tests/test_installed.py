"""Without a clone: a wheel, installed in an environment of its own, and its console commands in an empty folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

import gpt
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

SHORT = ["training.max_iters=4", "training.eval_interval=2", "training.eval_iters=1"]

Run = Callable[..., subprocess.CompletedProcess]


def succeeds(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands of an environment with the wheel; it sees the libraries of this one."""
    clone, place = tmp_path_factory.mktemp("clone") / "repository", tmp_path_factory.mktemp("installed")
    clone.mkdir()
    for name in ("gpt", "conf", *(path.name for path in REPOSITORY.iterdir() if path.is_file())):
        copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy
        copy(REPOSITORY / name, clone / name)
    before = sorted(clone.rglob("*"))
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", place, clone]
    succeeds(sys.executable, *build, cwd=place)
    assert sorted(clone.rglob("*")) == before  # an installation leaves nothing behind
    succeeds(sys.executable, "-m", "venv", "--without-pip", place / "venv", cwd=place)
    packages = next((place / "venv").rglob("site-packages"))
    (wheel,) = place.glob("*.whl")
    target = ["-m", "pip", "--python", place / "venv", "install", "--quiet", "--no-deps", wheel]
    succeeds(sys.executable, *target, cwd=place)
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))  # after the wheel: its package comes first
    return place / "venv" / "bin"


def test_the_commands_work_in_an_empty_folder(installed: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "input.txt").write_text(text)
    corpus = ["data=text", "data.path=input.txt", *SHORT]
    out = succeeds(installed / "gpt-train", "model=v1", *corpus, cwd=tmp_path)
    assert "sample from it: gpt-generate run=runs/" in out
    assert {path.name for path in tmp_path.iterdir()} == {"input.txt", "runs"}
    assert len(succeeds(installed / "gpt-generate", "tokens=20", cwd=tmp_path)) == 21
    assert "exact loss" in succeeds(installed / "gpt-evaluate", cwd=tmp_path)
    assert "1 run on data=text" in succeeds(installed / "gpt-compare", cwd=tmp_path)
    (summary,) = tmp_path.glob("runs/*/*/summary.json")
    assert '"git_commit": null' in summary.read_text()  # the commit of another project says nothing
    assert '"command": "gpt-train model=v1' in summary.read_text()


def test_it_says_how_an_installed_package_is_extended(installed: Path, tmp_path: Path) -> None:
    command = [installed / "gpt-train", "-m", "hydra/launcher=ray", "seed=1,2"]
    done = subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr == "error: hydra/launcher=ray is not installed: pip install 'gpt-ladder[ray]'\n"
    assert succeeds(installed / "gpt-train", "--version", cwd=tmp_path) == f"gpt-ladder {gpt.__version__}\n"
    assert succeeds(installed / "python", "-m", "gpt", cwd=tmp_path).startswith("gpt-train ")


def test_a_sweep_on_all_cores_and_a_stage_of_ones_own(installed: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "input.txt").write_text(text)
    (tmp_path / "mine" / "model").mkdir(parents=True)
    shutil.copy(REPOSITORY / "conf" / "model" / "v1.yaml", tmp_path / "mine" / "model" / "my_v1.yaml")
    swept = ["-m", "--config-dir=mine", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "model=my_v1,v2"]
    succeeds(installed / "gpt-train", *swept, "data=text", "data.path=input.txt", *SHORT, cwd=tmp_path)
    assert len(list(tmp_path.glob("runs/*/*_sweep/*/summary.json"))) == 2
    assert "  runs=runs" in succeeds(installed / "gpt-train", "--help", cwd=tmp_path)
