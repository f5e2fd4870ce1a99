"""Sweeps for the tests of launchers: their command, what they leave, and waiting for it."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import REPOSITORY, shell_commands
from tests.results import content

FILES = ("metrics.jsonl", "best.safetensors", "last.safetensors", "sample.txt")
# Long enough to be stopped on the way, without a checkpoint unless a test asks for some.
SWEEP = [
    "-m",
    "data=text",
    "data.path=corpus.txt",
    "device=cpu",
    "training.max_iters=5000",
    "training.eval_interval=1000",
    "training.eval_iters=2",
    "checkpoint.interval=1000000",
]
V1 = [*SWEEP, "model=v1"]

COMMANDS = [command for command in shell_commands("clusters.md") if "pip install" not in command]
_SHORT = [
    "data=text",
    "data.path=corpus.txt",
    "training.max_iters=4",
    "training.eval_interval=2",
    "training.eval_iters=1",
]


def start(*arguments: str, cwd: Path, **environment: str) -> subprocess.Popen:
    command = [sys.executable, str(REPOSITORY / "train.py"), *arguments]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=cwd, env=os.environ | environment, **output)


def finished(process: subprocess.Popen) -> subprocess.CompletedProcess:
    out, err = process.communicate(timeout=600)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    return finished(start(*arguments, cwd=cwd, **environment))


def run_short(command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """A command of docs/clusters.md, of a few iterations on the small corpus."""
    program, *arguments = shlex.split(command)
    launcher = {"python": [], "torchrun": ["-m", "torch.distributed.run", "--standalone"]}[program]
    place = arguments.index("train.py")
    arguments[place] = str(REPOSITORY / "train.py")
    return subprocess.run(
        [sys.executable, *launcher, *arguments, *_SHORT],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def contents(sweep: Path) -> dict[str, bytes]:
    """What a sweep leaves that depends on nothing but its configuration."""
    return {f"{path.parent.name}/{path.name}": content(path) for name in FILES for path in sweep.glob(f"0*/{name}")}


def losses(sweep: Path) -> list[float]:
    """Every estimate of every run."""
    metrics = sorted(sweep.glob("0*/metrics.jsonl"))
    lines = [json.loads(line) for path in metrics for line in path.read_text().splitlines()]
    return [line[split] for line in lines if "val" in line for split in ("train", "val")]


def training(sweep: Path, jobs: int) -> Callable[[], bool]:
    return lambda: len(list(sweep.glob("0*/metrics.jsonl"))) == jobs
