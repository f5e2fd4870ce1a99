"""docs/tracking.md done as written, and trackers of runs that are killed."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.forked import Forked
from tests.watching import records

PAGE = (REPOSITORY / "docs" / "tracking.md").read_text()
COMMANDS = re.findall(r"^python (.*?)(?: +#.*)?$", PAGE, re.MULTILINE)
SHORT = "training.max_iters=40 training.eval_interval=20 training.eval_iters=1 device=cpu"


def started(arguments: str, folder: Path) -> Forked:
    """A script in a folder that is also where the trackers write."""
    path, *rest = shlex.split(arguments)
    return Forked([str(REPOSITORY / path), *rest], folder, os.environ | records.environment(folder))


def wait_for_trackers(folder: Path) -> None:
    """Until the trackers of every run below `folder` have released their locks."""
    from filelock import FileLock

    for lock in folder.rglob(".*.lock"):
        if lock.name != ".lock":
            with FileLock(lock, timeout=60):
                pass


@pytest.mark.slow
def test_a_tracker_finishes_its_work_after_the_training_has_ended(tmp_path: Path) -> None:
    """Nobody listens any more, and the last line was cut off in the middle."""
    run = {"id": "1", "name": "run", "folder": str(tmp_path), "lock": None, "config": {}, "options": {}}
    rows = [{"step": i, "values": {"loss/val": float(i)}, "texts": {}, "is_finished": False} for i in range(3)]
    lines = "".join(json.dumps(message) + "\n" for message in [run, *rows]) + '{"step": 3, "val'
    process = subprocess.Popen(
        [sys.executable, "-m", "gpt.watching.tracker_process", "gpt.watching.tensorboard", "TensorBoard"],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(lines.encode(), timeout=120)
    assert process.returncode == 0, errors
    points, _ = records.recorded("tensorboard", tmp_path, tmp_path)
    assert points["loss/val"] == [(0, 0.0), (1, 1.0), (2, 2.0)]


@pytest.mark.slow
@pytest.mark.parametrize(("category", "code"), [("FutureWarning", 0), ("UserWarning", 1)])
def test_a_deprecation_in_a_library_is_no_failure_of_trackio(category: str, code: int, tmp_path: Path) -> None:
    """trackio reports its failures as warnings of the category UserWarning."""
    lines = (
        "import warnings", "from pathlib import Path",
        "from gpt.watching.tracker_process import Run", "from gpt.watching.trackio import Trackio",
        "tracker = Trackio.sink(Run('1', 'run', Path(), None, {}, {'project': 'test'}))",
        f"warnings.warn('old', {category})",
        "tracker.log(0, {'loss': 1.0}, {})", "tracker.close(True)",
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | records.environment(tmp_path) | {"PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.returncode == code, done.stderr


@pytest.mark.slow
def test_every_command_of_the_page_runs(tmp_path: Path) -> None:
    assert len(COMMANDS) >= 4
    for command in COMMANDS:
        own = [word for word in SHORT.split() if word.partition("=")[0] not in command]
        done = started(shlex.join([*shlex.split(command), *own]), tmp_path).finished()
        assert done.returncode == 0, done.stderr
        assert "failed" not in done.stderr
    wait_for_trackers(tmp_path)
    assert len(list(tmp_path.rglob("events.out.tfevents.*"))) == 1
    assert len(list(tmp_path.rglob("offline-run-*/*.wandb"))) == 1
    assert len(list(tmp_path.rglob("metrics.csv"))) == 2
    assert (tmp_path / "gpt-ladder.db").exists()


def _wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_run_that_was_killed_and_resumed_from_a_checkpoint_long_before_has_every_point_once(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = started(
        "train.py model=v1 logger=[csv,tensorboard,trackio,wandb] logger.wandb.mode=offline logger.csv.steps=true "
        "training.max_iters=100000 training.eval_interval=50 training.eval_iters=1 training.log_interval=10 device=cpu "
        "checkpoint.interval=50 checkpoint.min_seconds=0 checkpoint.keep=1000 hydra.run.dir=run",
        tmp_path,
    )
    try:
        _wait(lambda: all((run / f".{name}.lock").exists() for name in records.NAMES))
        before = len(list(run.glob("checkpoints/*")))  # none yet, if the trackers were quicker
        _wait(lambda: len(list(run.glob("checkpoints/*"))) > before + 5)
    finally:
        process.send_signal(9)
    assert process.finished().returncode == -9
    done = started("train.py resume=run/checkpoints/00000050 training.max_iters=100", tmp_path).finished()
    assert done.returncode == 0, done.stderr
    wait_for_trackers(tmp_path)
    rows = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]
    assert [row[0] for row in rows] == ["iteration", *map(str, range(0, 101, 10))]
    for name in records.NAMES:
        points, texts = records.recorded(name, run, tmp_path)
        assert [i for i, _ in points["loss/val"]] == [0, 50, 100]
        assert [i for i, _ in points["loss/batch"]] == list(range(10, 101, 10))
        assert [i for i, _ in points["loss/documented_batch"]] == [0, 50, 100]
        assert [value for _, value in points["loss/batch"]] == pytest.approx(
            [float(row[rows[0].index("batch")]) for row in rows[2:]]
        )
        assert len(points["loss/exact_val"]) == 1
        assert {"report", "sample"} <= texts.keys()
