"""docs/screenshots.py, in a copy of what it needs, with runs of a few iterations."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

import gpt
from tests.conftest import REPOSITORY, succeeded
from tests.extras import require_extra
from tests.playground.browsing import chromium_path

_SHORT = ("training.max_iters=4", "training.eval_interval=4", "training.eval_iters=1", "device=cpu")


def test_the_pictures_of_the_playground_can_be_taken_again(tmp_path: Path) -> None:
    require_extra("dev")
    chromium_path()
    for part in ("gpt", "conf"):
        shutil.copytree(REPOSITORY / part, tmp_path / part)
    (tmp_path / "data").symlink_to(REPOSITORY / "data")
    shutil.copy(REPOSITORY / "play.py", tmp_path)
    images = tmp_path / "docs" / "images"
    images.mkdir(parents=True)
    script = shutil.copy(REPOSITORY / "docs" / "screenshots.py", tmp_path / "docs")
    shutil.copytree(REPOSITORY / "docs" / "_ext", tmp_path / "docs" / "_ext")
    generated = tmp_path / "docs" / "_generated"
    for stage in ("v3", "v5"):
        gpt.train(f"model={stage}", *_SHORT, folder=generated / "screenshots" / stage)
    recall = ("model=v6", "model.n_layer=2", "model.n_head=1", "model.block_size=9", "data=recall", "data.distance=0")
    gpt.train(*recall, *_SHORT, folder=generated / "runs" / "recall")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    succeeded(subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True))
    sizes = {path.name: Image.open(path).size for path in images.iterdir()}
    assert {name: size for name, size in sizes.items() if name.startswith("playground")} == {
        "playground.png": (1280, 1640),
        "playground_attention.png": (1280, 1760),
    }
    assert sizes["recall-light.png"] == sizes["recall-dark.png"]
