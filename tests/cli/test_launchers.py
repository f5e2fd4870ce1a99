"""Sweeps whose jobs run elsewhere: on a cluster, by submitit's local executor in place of Slurm.

tests/slurm/ repeats the first with a real Slurm.
"""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Script, succeeded
from tests.sweeping import (
    COMMANDS,
    FILES,
    SWEEP,
    V1,
    contents,
    finished,
    losses,
    run,
    run_short,
    start,
    training,
    wait_until,
)

pytestmark = pytest.mark.slow

LOCAL = ["hydra/launcher=submitit_local", "hydra.sweep.dir=S"]
SAVING = ["checkpoint.interval=100", "checkpoint.min_seconds=0"]


def children_of(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    return [int(child) for child in found]


def tasks_of(sweep: subprocess.Popen) -> list[int]:
    """The processes of the jobs: submitit has a controller for each."""
    return [task for controller in children_of(sweep.pid) for task in children_of(controller)]


def interrupt(sweep: subprocess.Popen, folder: Path, jobs: int, awaited: str, number: int) -> None:
    """Send a signal to each job once it has written this file."""
    waiting = set(range(jobs))

    def none_is_left() -> bool:
        for job in sorted(waiting):
            if list(folder.glob(f"00{job}_*/{awaited}")):
                os.kill(tasks_of(sweep)[job], number)
                waiting.remove(job)
        return not waiting

    wait_until(none_is_left)


@pytest.mark.slow
def test_a_requeued_sweep_ends_as_an_unbroken_one(script: Script, folder: Path) -> None:
    """Slurm sends SIGUSR2 before a time limit."""
    sweep = start(*V1, *SAVING, "seed=1,2", *LOCAL, cwd=folder)
    interrupt(sweep, folder / "S", 2, "checkpoints/0*/checkpoint.json", signal.SIGUSR2)
    done = succeeded(finished(sweep))
    assert done.stdout.startswith("2 jobs in S, their logs in S/.submitit\n")
    logs = "".join(path.read_text() for path in folder.glob("S/.submitit/*/*_log.out"))
    for job in range(2):
        assert f"job {job + 1} of 2: " in logs
        assert f"resuming S/00{job}_v1_seed{job + 1} from iteration " in logs
    assert "from iteration 0" not in logs
    assert script("train.py", *V1, "seed=1,2", "hydra.sweep.dir=whole", cwd=folder).returncode == 0
    assert len(contents(folder / "whole")) == 2 * len(FILES)
    assert contents(folder / "S") == contents(folder / "whole")


@pytest.mark.slow
def test_a_job_that_is_cancelled_is_one_line(folder: Path) -> None:
    sweep = start(*V1, *LOCAL, "seed=1", "training.max_iters=100000000", cwd=folder)
    wait_until(training(folder / "S", 1))
    (task,) = tasks_of(sweep)
    os.kill(task, signal.SIGKILL)
    done = finished(sweep)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: submitit: ")
    assert "output" in line


@pytest.mark.slow
def test_a_job_with_too_many_time_limits_is_one_line(folder: Path) -> None:
    """submitit counts every signal in the last ten minutes of a job as its time limit."""
    none = ["hydra.launcher.timeout_min=5", "+hydra.launcher.max_num_timeout=0"]
    sweep = start(*V1, *LOCAL, *none, "seed=1", "training.max_iters=100000000", cwd=folder)
    interrupt(sweep, folder / "S", 1, "metrics.jsonl", signal.SIGUSR2)
    done = finished(sweep)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert "timed-out" in last


@pytest.mark.slow
def test_a_job_of_two_tasks_is_requeued_as_a_whole(script: Script, folder: Path) -> None:
    few = "training.max_iters=1000"
    sweep = start(*V1, *SAVING, *LOCAL, "seed=1", few, "hydra.launcher.tasks_per_node=2", cwd=folder)
    wait_until(lambda: list(folder.glob("S/0*/checkpoints/0*/checkpoint.json")))
    for task in tasks_of(sweep):
        os.kill(task, signal.SIGUSR2)
    succeeded(finished(sweep))
    assert any("resuming S/000_v1_seed1" in path.read_text() for path in folder.glob("S/.submitit/*/*_0_log.out"))
    assert script("train.py", *V1, "seed=1", few, "hydra.sweep.dir=one", cwd=folder).returncode == 0
    assert losses(folder / "S") == pytest.approx(losses(folder / "one"), abs=1e-4)


@pytest.mark.slow
def test_the_jobs_of_a_cluster_outlive_the_process_that_submitted(folder: Path) -> None:
    sweep = start(*V1, "seed=1,2", *LOCAL, cwd=folder)
    wait_until(training(folder / "S", 2))
    sweep.send_signal(signal.SIGTERM)
    finished(sweep)
    wait_until(lambda: len(list(folder.glob("S/0*/summary.json"))) == 2)


@pytest.mark.slow
def test_a_job_that_fails_on_a_cluster_is_named(folder: Path) -> None:
    done = run(*SWEEP, "model=v6", "model.n_head=5,4", "training.max_iters=2", *LOCAL, cwd=folder)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    for word in ("job 1 of 2: n_head=5: ", "n_embd=32", "S/.submitit"):
        assert word in last
    assert len(list(folder.glob("S/0*/summary.json"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for command in COMMANDS if "-m hydra/launcher=slurm" not in command])
def test_a_command_of_the_page_runs(command: str, folder: Path) -> None:
    """Those for Slurm: tests/slurm/."""
    done = succeeded(run_short(command, folder))
    if "--cfg" in command:
        assert "max_num_timeout: 100" in done.stdout
    else:
        assert list(folder.glob("runs/*/*/summary.json")) or list(folder.glob("runs/*/*_sweep/*/summary.json"))
