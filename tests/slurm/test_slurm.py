"""Sweeps on a real Slurm of one node: pytest -m slurm, as root, with slurm-wlm and munge installed."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Script
from tests.slurm import cluster
from tests.sweeping import (
    COMMANDS,
    FILES,
    V1,
    contents,
    finished,
    losses,
    of_long_text,
    run,
    run_short,
    start,
    training,
    wait_until,
)

pytestmark = pytest.mark.slurm

SLURM = ["hydra/launcher=slurm", "hydra.launcher.partition=low", "hydra.sweep.dir=S"]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A running cluster: the variables that its commands need."""
    with cluster.running(tmp_path_factory.mktemp("slurm")) as variables:
        yield variables


@pytest.fixture
def folder(tmp_path: Path, text: str) -> Path:
    (tmp_path / "corpus.txt").write_text(text)
    return tmp_path


def call(slurm: dict[str, str], *command: str) -> list[str]:
    done = subprocess.run(command, env=os.environ | slurm, capture_output=True, text=True, check=True)
    return done.stdout.split()


def jobs(slurm: dict[str, str]) -> list[str]:
    """The ids of all jobs; of an array, its parts."""
    return call(slurm, "squeue", "--array", "--noheader", "--format=%i")


def preempt_by_signals(slurm: dict[str, str]) -> None:
    """As a cluster that sends a job's own signal behind SIGTERM; submitit then has it requeued."""
    for job in jobs(slurm):
        call(slurm, "scancel", "--signal=TERM", job)
        call(slurm, "scancel", "--signal=USR2", job)


def preempt_by_a_job(slurm: dict[str, str]) -> None:
    """Slurm itself: SIGTERM, then SIGKILL and the requeueing, for a job that needs the whole node."""
    call(slurm, "sbatch", "--partition=high", "--exclusive", "--output=/dev/null", "--wrap=true")


@pytest.mark.parametrize("preempt", [preempt_by_signals, preempt_by_a_job])
def test_a_preempted_sweep_ends_as_the_unbroken_one(
    preempt: Callable[[dict[str, str]], None], slurm: dict[str, str], script: Script, folder: Path
) -> None:
    sweep = start(*V1, "seed=1,2", *SLURM, cwd=folder, **slurm)
    wait_until(training(folder / "S", 2))
    assert len(jobs(slurm)) == 2
    preempt(slurm)
    done = finished(sweep)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 jobs in S, their logs in S/logs\n")
    logs = "".join(path.read_text() for path in folder.glob("S/logs/*/*_log.out"))
    for job in range(2):
        assert f"resuming S/00{job}_v1_seed{job + 1} from iteration " in logs
    assert "from iteration 0" not in logs  # what was done before the pre-emption was saved
    assert script("train.py", *V1, "seed=1,2", "hydra.sweep.dir=whole", cwd=folder).returncode == 0
    assert len(contents(folder / "whole")) == 2 * len(FILES)
    assert contents(folder / "S") == contents(folder / "whole")


def test_a_job_of_two_tasks_has_the_losses_of_one_process(slurm: dict[str, str], script: Script, folder: Path) -> None:
    """Pre-empted on the way: the tasks save together, and the first one requeues both."""
    short = ["seed=1", "training.max_iters=1000"]
    sweep = start(*V1, *short, *SLURM, "hydra.launcher.tasks_per_node=2", cwd=folder, **slurm)
    wait_until(training(folder / "S", 1))
    preempt_by_signals(slurm)
    done = finished(sweep)
    assert done.returncode == 0, done.stderr
    (log,) = [path.read_text() for path in folder.glob("S/logs/*/*_0_log.out")]
    assert "2 processes" in log
    assert "resuming S/000_v1_seed1 from iteration " in log
    assert script("train.py", *V1, *short, "hydra.sweep.dir=one", cwd=folder).returncode == 0
    assert len(losses(folder / "one")) == 4
    assert losses(folder / "S") == pytest.approx(losses(folder / "one"), abs=1e-4)


def test_all_tasks_of_all_jobs_map_one_copy_of_a_long_text(slurm: dict[str, str], folder: Path) -> None:
    sweep, place = of_long_text(folder), {"GPT_DATA_DIR": str(folder)}
    done = run(*sweep, *SLURM, "hydra.launcher.tasks_per_node=2", cwd=folder, **place, **slurm)
    assert done.returncode == 0, done.stderr
    (ids,) = folder.glob("prepared/*/*.train.ids")
    written = ids.stat().st_mtime_ns
    assert run(*sweep, "hydra.sweep.dir=one", cwd=folder, **place).returncode == 0
    assert ids.stat().st_mtime_ns == written
    assert len(losses(folder / "one")) == 12
    assert losses(folder / "S") == pytest.approx(losses(folder / "one"), abs=1e-4)


def test_what_slurm_refuses_ends_in_one_line(slurm: dict[str, str], folder: Path) -> None:
    done = finished(start(*V1, *SLURM, "hydra.launcher.partition=nowhere", cwd=folder, **slurm))
    assert done.returncode == 1
    *of_sbatch, last = done.stderr.splitlines()
    assert all(line.startswith("sbatch: ") for line in of_sbatch)
    assert last.startswith("error: submitit: sbatch: error: invalid partition specified: nowhere")


def test_a_job_is_called_after_its_sweep(slurm: dict[str, str], folder: Path) -> None:
    sweep = start(*V1, "training.max_iters=100000000", *SLURM, cwd=folder, **slurm)
    wait_until(training(folder / "S", 1))
    assert call(slurm, "squeue", "--noheader", "--format=%j") == ["S"]
    sweep.terminate()
    assert finished(sweep).stderr.endswith("compares the finished ones\n")
    call(slurm, "scancel", *jobs(slurm))
    wait_until(lambda: not jobs(slurm))
    assert len(list(folder.glob("S/0*/checkpoints/0*"))) == 1  # it was saved, and is not requeued


@pytest.mark.parametrize("command", [command for command in COMMANDS if "-m hydra/launcher=slurm" in command])
def test_a_command_of_the_page_runs(command: str, slurm: dict[str, str], folder: Path) -> None:
    done = run_short(command, folder, **slurm)
    assert done.returncode == 0, done.stderr
    assert len(list(folder.glob("runs/*/*_sweep/*/summary.json"))) >= 2
