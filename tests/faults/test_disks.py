"""A file system with room for too little of a run."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpt.runs.folder import RunFolder
from tests.faults.trials import differences, finish, is_one_line, runs_in, start, whole_run

# Two checkpoints, the first of which makes room for the second, and everything that a run can leave.
_TRAINING = [
    "model=v1",
    "training.max_iters=2",
    "training.eval_interval=2",
    "training.eval_iters=1",
    "training.batch_size=2",
    "training.learning_rate=0.1",
    "training.average_last=0.5",
    "training.log_interval=1",
    "checkpoint.interval=1",
    "checkpoint.min_seconds=0",
    "checkpoint.keep=1",
    "device=cpu",
]
_PAGE = 4096  # bytes, of which a file system in memory hands out whole ones
_DISPENSABLE = {"best.safetensors": "the best weights", "sample.txt": "the sample"}  # if the run says so


@pytest.mark.parametrize("share", [n / 20 for n in range(1, 20, 2)])
def test_a_full_disk_costs_a_line_and_no_checkpoint(share: float, tmp_path: Path) -> None:
    """With room again, the run goes on and ends as it would have."""
    whole = whole_run(tmp_path / "whole", *_TRAINING)
    pages = sum(-(-path.stat().st_size // _PAGE) for path in whole.rglob("*"))
    disk = tmp_path / "disk"
    disk.mkdir()
    with _mounted(disk, f"size={round(share * pages) * _PAGE}"):
        code, err = finish(start(*_TRAINING, f"runs={disk / 'runs'}", cwd=tmp_path))
        assert not code or is_one_line(err), err
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        if code:
            runs = runs_in(disk)
            again = [f"resume={runs[0]}"] if runs else [*_TRAINING, f"runs={disk / 'runs'}"]
            code, err = finish(start(*again, cwd=tmp_path))
            assert code == 0, err
        (run,) = runs_in(disk)
        assert differences(whole, run, [name for name, words in _DISPENSABLE.items() if words in err]) == []
        assert RunFolder(run).summary().exact == RunFolder(whole).summary().exact
        assert [path for path in run.rglob(".*") if path.name != ".lock"] == []


@contextlib.contextmanager
def _mounted(place: Path, limits: str) -> Iterator[None]:
    """A file system with these limits, such as size=4m. Skips the test where the user may not mount one."""
    mount = ["mount", "-t", "tmpfs", "-o", limits, "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("the user may not mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
