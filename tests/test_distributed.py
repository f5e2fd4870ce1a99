"""Two processes train as one does; what one of them saved, any number goes on with; none outlives another."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpt.checkpoint import Checkpoints
from tests.conftest import REPOSITORY

SHORT = ["device=cpu", "training.max_iters=50", "training.eval_interval=10", "training.eval_iters=4"]
V5 = ["model=v5", "data=text", "data.path=corpus.txt", *SHORT]
TRANSFORMER = [
    "model=transformer", "data=reverse", "data.size=400", "model.dropout=0.0", "model.n_embd=32", "model.n_layer=1",
    "model.n_hidden=64", "training.batch_size=128", "training.warmup_iters=20", "dtype=float32", *SHORT,
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, text: str) -> Path:
    (tmp_path / "corpus.txt").write_text(text)
    return tmp_path


def start(processes: int, *arguments: str, cwd: Path) -> subprocess.Popen:
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    launcher = torchrun if processes > 1 else []
    command = [sys.executable, *launcher, str(REPOSITORY / "train.py"), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(processes: int, *arguments: str, cwd: Path) -> str:
    process = start(processes, *arguments, cwd=cwd)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def losses(root: Path) -> list[float]:
    (metrics,) = root.rglob("metrics.jsonl")
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    return [line[split] for line in lines for split in ("train", "val")]


@pytest.mark.parametrize("arguments", [V5, TRANSFORMER], ids=["v5", "transformer"])
def test_two_processes_have_the_losses_of_one(arguments: list[str], folder: Path) -> None:
    for number in (1, 2):
        run(number, *arguments, f"runs=runs{number}", cwd=folder)
    one, two = losses(folder / "runs1"), losses(folder / "runs2")
    assert len(one) == 12
    assert two == pytest.approx(one, abs=1e-4)


def test_a_run_goes_on_with_another_number_of_processes(folder: Path) -> None:
    run(1, *V5, "runs=whole", cwd=folder)
    run(2, *V5, "runs=parts", "training.max_iters=20", cwd=folder)
    (path,) = (folder / "parts").glob("*/*")
    run(1, f"resume={path}", "training.max_iters=40", cwd=folder)
    run(2, f"resume={path}", "training.max_iters=50", cwd=folder)
    assert losses(folder / "parts") == pytest.approx(losses(folder / "whole"), abs=1e-4)


def test_two_launchers_meet_at_an_address(folder: Path) -> None:
    """As on two machines: each starts its own process, and both know where to meet."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    meeting = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint=localhost:{port}"]
    command = [sys.executable, "-m", "torch.distributed.run", *meeting, str(REPOSITORY / "train.py"), *V5, "runs=both"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    both = [subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    run(1, *V5, "runs=one", cwd=folder)
    assert losses(folder / "both") == pytest.approx(losses(folder / "one"), abs=1e-4)


def test_a_dead_process_ends_all_and_leaves_the_checkpoint(folder: Path) -> None:
    often = ["training.max_iters=100000", "checkpoint.interval=10", "checkpoint.min_seconds=0"]
    process = start(2, *V5, *often, cwd=folder)
    deadline = time.monotonic() + 120
    while not list(folder.glob("runs/*/*/checkpoints/0*/checkpoint.json")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(children[-1]), signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "another process of this training is gone" in err or "stopped at iteration" in err, err
    (path,) = folder.glob("runs/*/*")
    newest = Checkpoints(path / "checkpoints", 2).newest()
    assert newest is not None
    run(1, f"resume={path}", f"training.max_iters={newest.progress.iteration + 10}", cwd=folder)
