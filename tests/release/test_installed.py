"""Without a clone: a wheel, installed in an environment of its own, and its console commands in an empty folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import gpt
from tests.conftest import REPOSITORY, refused

SHORT = ["training.max_iters=4", "training.eval_interval=2", "training.eval_iters=1"]


def succeeds(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that was built from an sdist, or the one in the folder GPT_DIST, which is to be published."""
    folder = Path(os.environ.get("GPT_DIST", tmp_path_factory.mktemp("dist"))).resolve()
    if "GPT_DIST" not in os.environ:
        succeeds(sys.executable, "-m", "hatchling", "build", "--target=sdist", f"--directory={folder}", cwd=REPOSITORY)
        (sdist,) = folder.iterdir()
        build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, sdist]
        succeeds(sys.executable, *build, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands of an environment with the wheel; it sees the libraries of this one."""
    place = tmp_path_factory.mktemp("installed")
    succeeds(sys.executable, "-m", "venv", "--without-pip", place / "venv", cwd=place)
    packages = next((place / "venv").rglob("site-packages"))
    target = ["-m", "pip", "--python", place / "venv", "install", "--quiet", "--no-deps", "--no-index", wheel]
    succeeds(sys.executable, *target, cwd=place)
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))  # after the wheel: its package comes first
    return place / "venv" / "bin"


def test_the_first_commands_need_no_clone_and_no_network(installed: Path, tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "empty"
    home.mkdir()
    folder.mkdir()
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    out = succeeds(
        installed / "gpt", "train", "model=v1", *SHORT, cwd=folder, HOME=str(home), GPT_DATA_DIR="nowhere", **nowhere
    )
    assert "text: 1,003,854 characters to train on, 111,540 to validate on; a vocabulary of 65\n" in out
    assert "sample from it: gpt generate run=runs/" in out
    assert [path.name for path in folder.iterdir()] == ["runs"]
    assert len(succeeds(installed / "gpt", "generate", "tokens=20", cwd=folder)) == 21
    assert "exact loss" in succeeds(installed / "gpt", "evaluate", cwd=folder)
    assert "1 run on tiny Shakespeare" in succeeds(installed / "gpt", "compare", cwd=folder)
    (summary,) = folder.glob("runs/*/*/summary.json")
    assert '"git_commit": null' in summary.read_text()  # the commit of another project says nothing
    assert '"command": "gpt train model=v1' in summary.read_text()


def test_it_says_how_an_installed_package_is_extended(installed: Path, tmp_path: Path) -> None:
    command = [installed / "gpt", "train", "-m", "hydra/launcher=ray", "seed=1,2"]
    done = subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True, text=True)
    refused(done, "pip install 'gpt-ladder[ray]'")
    assert succeeds(installed / "gpt", "train", "--version", cwd=tmp_path) == f"gpt-ladder {gpt.__version__}\n"
    assert succeeds(installed / "python", "-m", "gpt", cwd=tmp_path).startswith("gpt train ")


def test_an_installed_package_sweeps_over_a_stage_of_ones_own(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "mine" / "model").mkdir(parents=True)
    shutil.copy(REPOSITORY / "conf" / "model" / "v1.yaml", tmp_path / "mine" / "model" / "my_v1.yaml")
    swept = ["-m", "--config-dir=mine", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "model=my_v1,v2"]
    succeeds(installed / "gpt", "train", *swept, *SHORT, cwd=tmp_path)
    assert len(list(tmp_path.glob("runs/*/*_sweep/*/summary.json"))) == 2
    assert "  runs=runs" in succeeds(installed / "gpt", "train", "--help", "all", cwd=tmp_path)
