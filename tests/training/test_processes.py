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
import torch

from gpt.base.errors import UserError
from gpt.runs.checkpoints import Checkpoints
from gpt.runs.folder import RunFolder
from gpt.training.processes import World
from tests.conftest import REPOSITORY, Script, succeeded
from tests.forked import Forked

slow = pytest.mark.slow

SHORT = ["device=cpu", "training.max_iters=50", "training.eval_interval=10"]
ESTIMATED = "training.eval_iters=4"
V5 = ["model=v5", "data=text", "data.path=corpus.txt", ESTIMATED, *SHORT]
TRANSFORMER = [
    "model=transformer", "data=reverse", "data.size=400", "model.dropout=0.0", "model.n_embd=32", "model.n_layer=1",
    "model.n_hidden=64", "training.batch_size=128", "schedule.warmup_iters=20", "dtype=float32", *SHORT,
]  # fmt: skip
V9 = [
    "model=v9",
    "model.block_size=32",
    "model.n_embd=32",
    "model.n_layer=1",
    "training.multi_token=0.3",
    "optimizer=adamw",
    "data=text",
    "data.path=corpus.txt",
    ESTIMATED,
    *SHORT,
]
LONG = ["training.max_iters=800", "training.eval_interval=800", "checkpoint.interval=10", "checkpoint.min_seconds=0"]


def start(processes: int, *arguments: str, cwd: Path) -> subprocess.Popen:
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *torchrun, str(REPOSITORY / "train.py"), *arguments]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def start_all(processes: int, *arguments: str, cwd: Path) -> list[Forked]:
    """Processes with the environment that torchrun would give them."""
    world = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(processes)}
    command = [str(REPOSITORY / "train.py"), *arguments]
    ranks = [world | {"RANK": str(i), "LOCAL_RANK": str(i)} if processes > 1 else {} for i in range(processes)]
    return [Forked(command, cwd, os.environ | rank) for rank in ranks]


def run(processes: int, *arguments: str, cwd: Path) -> str:
    done = [process.finished() for process in start_all(processes, *arguments, cwd=cwd)]
    assert all(process.returncode == 0 for process in done), done
    return done[0].stdout


def losses(root: Path) -> list[float]:
    (metrics,) = root.rglob("metrics.jsonl")
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    return [line[split] for line in lines if "val" in line for split in ("train", "val")]


def wait_for(pattern: str, folder: Path) -> Path:
    """The first file of that pattern, once it is there."""
    deadline = time.monotonic() + 120
    while not (found := list(folder.glob(pattern))):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found[0]


def finished(process: Forked | subprocess.Popen) -> subprocess.CompletedProcess:
    if isinstance(process, Forked):
        return process.finished(timeout=60)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.mark.parametrize(
    ("arguments", "parts"), [(V9, 1), pytest.param([*V5, "optimizer=muon"], 2, marks=slow)], ids=["v9", "muon"]
)
def test_two_processes_have_the_losses_of_one(arguments: list[str], parts: int, called: Script, folder: Path) -> None:
    # Muon computes in bfloat16, which enlarges the rounding of a gradient that is summed in another order. Two parts of
    # a batch are summed in the order of two processes.
    succeeded(called("train.py", *arguments, f"training.grad_accumulation={parts}", "runs=runs1", cwd=folder))
    run(2, *arguments, "runs=runs2", cwd=folder)
    one, two = losses(folder / "runs1"), losses(folder / "runs2")
    assert len(one) == 12
    assert two == pytest.approx(one, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("dropout", "numbers", "rounding"), [(0.0, (2, 1, 2), 1e-4), (0.2, (2, 2), 0.0)])
def test_a_run_resumes_with_any_number_of_processes(
    dropout: float, numbers: tuple[int, ...], rounding: float, folder: Path
) -> None:
    settings = [*TRANSFORMER, f"model.dropout={dropout}", "schedule.warmup_iters=5", "training.average_last=0"]
    lengths = [f"training.max_iters={10 * part}" for part in range(1, len(numbers) + 1)]
    run(2 if dropout else 1, *settings, lengths[-1], "runs=whole", cwd=folder)
    run(numbers[0], *settings, lengths[0], "runs=parts", cwd=folder)
    (path,) = (folder / "parts").glob("*/*")
    for processes, length in zip(numbers[1:], lengths[1:], strict=True):
        run(processes, f"resume={path}", length, cwd=folder)
    assert losses(folder / "parts") == pytest.approx(losses(folder / "whole"), rel=0, abs=rounding)


@pytest.mark.slow
def test_a_dead_process_ends_all_and_leaves_the_checkpoint(folder: Path) -> None:
    first, second = start_all(2, *V5, *LONG, cwd=folder)
    wait_for("runs/*/*/checkpoints/0*/checkpoint.json", folder)
    second.send_signal(signal.SIGKILL)
    done = first.finished(timeout=120)  # without a launcher, which would end it as well
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "resume=RUN_FOLDER" in line
    (path,) = folder.glob("runs/*/*")
    assert Checkpoints(RunFolder(path), 2).newest() is not None
    run(1, f"resume={path}", cwd=folder)


@pytest.mark.slow
@pytest.mark.parametrize("who", ["second", pytest.param("launcher", marks=slow)])
def test_a_signal_to_two_processes_saves_and_ends_both(folder: Path, who: str) -> None:
    """Whether it reaches both, as from a launcher that is stopped, or only one of them."""
    long = ["training.max_iters=800", "checkpoint.interval=1000000", "training.eval_interval=1000000"]
    arguments = [*V5, *long, "runs=stopped"]
    processes = [start(2, *arguments, cwd=folder)] if who == "launcher" else start_all(2, *arguments, cwd=folder)
    path = wait_for("stopped/*/*/metrics.jsonl", folder).parent
    processes[who == "second"].send_signal(signal.SIGTERM)
    ended = [finished(process) for process in processes]  # a launcher's pipe ends with the last of its workers
    assert all(done.returncode != 0 for done in ended)
    err = "".join(done.stderr for done in ended)
    checkpoints = Checkpoints(RunFolder(path), 2)
    newest = checkpoints.newest()
    assert newest is not None
    assert len(RunFolder(path).checkpoints()) == 1  # none but that of the signal was due
    where = f"stopped at iteration {newest.state.iteration}"
    told = [line for line in err.splitlines() if line.startswith("stopped ")]
    assert sorted(told) == [where, f"{where}; resume with: python train.py resume={path.relative_to(folder)}"]
    out = run(2, f"resume={path}", cwd=folder)
    assert f"from iteration {newest.state.iteration}" in out
    run(1, *V5, *long, "runs=whole", cwd=folder)
    assert losses(folder / "stopped")[-2:] == pytest.approx(losses(folder / "whole")[-2:], abs=0.05)


PEER = {"RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}


@pytest.mark.parametrize(
    ("world", "word"),
    [
        ({"WORLD_SIZE": "2"}, "RANK"),
        (PEER | {"WORLD_SIZE": "2", "RANK": "x"}, "'x'"),
        (PEER | {"WORLD_SIZE": "2"}, "device=cpu"),  # they do not share the device of a Mac
    ],
    ids=str,
)
def test_an_environment_that_is_not_of_torchrun_is_one_line(
    world: dict[str, str], word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if word == "device=cpu":
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for name, value in world.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=word) as error, World.joined("auto" if "device" in word else "cpu"):
        pass
    assert "\n" not in str(error.value)
