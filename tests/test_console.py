"""Standard streams that are closed or full cost no run."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

TRAINING = (
    f"{sys.executable} {REPOSITORY / 'train.py'} model=v1 training.max_iters=4 training.eval_interval=2 "
    "training.eval_iters=1 training.batch_size=2 device=cpu data=text data.path=corpus.txt"
)


@pytest.mark.parametrize("streams", ["2>&-", "<&- >&- 2>&-", ">/dev/full 2>&1"])
def test_a_run_is_complete_without_standard_streams(text: str, tmp_path: Path, streams: str) -> None:
    (tmp_path / "corpus.txt").write_text(text)
    done = subprocess.run(f"{TRAINING} {streams}", shell=True, cwd=tmp_path)
    assert done.returncode == 0
    (summary,) = tmp_path.rglob("summary.json")
    assert {path.name for path in summary.parent.iterdir()} >= {"train.log", "last.safetensors", "loss.png"}
    assert "run folder:" in (summary.parent / "train.log").read_text()
