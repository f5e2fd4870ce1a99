"""docs/screenshots.py, in a copy of what it needs, with runs of a few iterations."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import gpt
from tests.conftest import REPOSITORY, succeeded
from tests.playground.browsing import chromium_path

_SHORT = ("training.max_iters=4", "training.eval_interval=4", "training.eval_iters=1", "device=cpu")


@pytest.mark.slow
def test_the_pictures_of_the_playground_can_be_taken_again(tmp_path: Path) -> None:
    pytest.importorskip("playwright.sync_api")
    chromium_path()
    for part in ("gpt", "conf"):
        shutil.copytree(REPOSITORY / part, tmp_path / part)
    (tmp_path / "data").symlink_to(REPOSITORY / "data")
    shutil.copy(REPOSITORY / "play.py", tmp_path)
    images = tmp_path / "docs" / "images"
    images.mkdir(parents=True)
    script = shutil.copy(REPOSITORY / "docs" / "screenshots.py", tmp_path / "docs")
    for stage in ("v3", "v5"):
        folder = tmp_path / "docs" / "_generated" / "screenshots" / stage
        gpt.train(f"model={stage}", *_SHORT, folder=folder)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    succeeded(subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True))
    sizes = {path.name: Image.open(path).size for path in images.iterdir()}
    assert sizes == {"playground.png": (1280, 1640), "playground_attention.png": (1280, 1760)}
