"""Sweeps on a real Slurm of one node: pytest -m slurm, as root, with the Debian packages slurm-wlm and munge.

Its daemons are ordinary processes, with all of their files in one folder; it needs no systemd.
"""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Script, succeeded
from tests.sweeping import COMMANDS, FILES, V1, contents, finished, losses, run_short, start, training, wait_until

SAVING = ["checkpoint.interval=100", "checkpoint.min_seconds=0"]
SLURM = ["hydra/launcher=slurm", "hydra.launcher.partition=low", "hydra.sweep.dir=S"]
# A job in the partition `low` is pre-empted by one in `high`: it is killed before it could finish (KillWait, GraceTime)
# and requeued. cred_expire is how many seconds a requeued job has to wait, 120 by default.
CONFIGURATION = """ClusterName=one
SlurmctldHost=localhost
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=1,sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=1
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={folder}/controller
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdSpoolDir={folder}/node
SlurmdPidFile={folder}/slurmd.pid
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
NodeName=localhost NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=low Nodes=localhost Default=YES State=UP PriorityTier=1 GraceTime=0
PartitionName=high Nodes=localhost State=UP PriorityTier=2 PreemptMode=OFF
"""
Slurm = dict[str, str]  # the variables that its commands need


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("controller", "node"):
        (folder / name).mkdir(mode=0o700)
    folder.chmod(0o700)
    (folder / "key").write_bytes(os.urandom(1024))
    (folder / "key").chmod(0o400)
    with socket.socket() as one, socket.socket() as other:
        for free in (one, other):
            free.bind(("localhost", 0))
        controller_port, node_port = (free.getsockname()[1] for free in (one, other))
    text = CONFIGURATION.format(folder=folder, controller_port=controller_port, node_port=node_port)
    (folder / "slurm.conf").write_text(text)
    variables = {"SLURM_CONF": f"{folder}/slurm.conf", "PATH": f"{os.environ['PATH']}:/usr/sbin"}  # Debian's daemons
    files = [f"--{name}-file={folder}/{name}" for name in ("key", "log", "pid", "seed")]
    munge = ["munged", "--foreground", "--force", f"--socket={folder}/socket", *files]
    with contextlib.ExitStack() as stack:
        for command in (munge, ["slurmctld", "-D"], ["slurmd", "-D", "-N", "localhost"]):
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            daemon = stack.enter_context(subprocess.Popen(command, env=os.environ | variables, **quiet))
            stack.callback(daemon.terminate)
            time.sleep(1)
        wait_until(lambda: call(variables, "sinfo", "--noheader", "--format=%T", "--partition=low") == ["idle"])
        yield variables
        call(variables, "scancel", "--user=root")
        wait_until(lambda: not jobs(variables))


def call(slurm: Slurm, *command: str) -> list[str]:
    return subprocess.run(command, env=os.environ | slurm, capture_output=True, text=True).stdout.split()


def jobs(slurm: Slurm) -> list[str]:
    """The ids of all jobs; of an array, its parts."""
    return call(slurm, "squeue", "--array", "--noheader", "--format=%i")


def by_signals(slurm: Slurm) -> None:
    """As before a time limit; submitit has the job requeued."""
    for job in jobs(slurm):
        call(slurm, "scancel", "--signal=USR2", job)


def by_a_job(slurm: Slurm) -> None:
    """Slurm itself: SIGTERM, then SIGKILL and the requeueing, for a job that needs the whole node."""
    call(slurm, "sbatch", "--partition=high", "--exclusive", "--output=/dev/null", "--wrap=true")


@pytest.mark.parametrize(("preempt", "tasks"), [(by_signals, 1), (by_a_job, 1), (by_signals, 2)])
def test_a_preempted_sweep_ends_as_the_unbroken_one(
    preempt: Callable[[Slurm], None], tasks: int, slurm: Slurm, script: Script, folder: Path
) -> None:
    """With two tasks a job, the first one requeues both."""
    swept = ["seed=1,2", "training.max_iters=20000"] if tasks == 1 else ["seed=1", "training.max_iters=1000"]
    sweep = start(*V1, *SAVING, *swept, *SLURM, f"hydra.launcher.tasks_per_node={tasks}", cwd=folder, **slurm)
    count = 2 if tasks == 1 else 1
    wait_until(lambda: len({*(path.parents[2] for path in folder.glob("S/0*/checkpoints/0*/*.json"))}) == count)
    assert call(slurm, "squeue", "--noheader", "--format=%j") == ["S"] * count
    preempt(slurm)
    succeeded(finished(sweep))
    logs = "".join(path.read_text() for path in folder.glob("S/logs/*/*_log.out"))
    for job in range(count):
        assert f"resuming S/00{job}_v1_seed{job + 1} from iteration " in logs
    assert "from iteration 0" not in logs
    assert ("2 processes" in logs) == (tasks == 2)
    assert script("train.py", *V1, *swept, "hydra.sweep.dir=whole", cwd=folder).returncode == 0
    assert len(contents(folder / "whole")) == count * len(FILES)
    assert tasks == 2 or contents(folder / "S") == contents(folder / "whole")
    assert losses(folder / "S") == pytest.approx(losses(folder / "whole"), abs=1e-4)


def test_what_slurm_refuses_ends_in_one_line(slurm: Slurm, folder: Path) -> None:
    done = finished(start(*V1, *SLURM, "hydra.launcher.partition=nowhere", cwd=folder, **slurm))
    assert done.returncode == 1
    *of_sbatch, last = done.stderr.splitlines()
    assert all(line.startswith("sbatch: ") for line in of_sbatch)
    assert last.startswith("error: ")
    assert "nowhere" in last


def test_a_stopped_sweep_leaves_its_jobs(slurm: Slurm, folder: Path) -> None:
    sweep = start(*V1, "training.max_iters=100000000", *SLURM, cwd=folder, **slurm)
    wait_until(training(folder / "S", 1))
    sweep.terminate()
    finished(sweep)
    assert len(jobs(slurm)) == 1
    call(slurm, "scancel", *jobs(slurm))
    wait_until(lambda: not jobs(slurm))


@pytest.mark.parametrize("command", [command for command in COMMANDS if "-m hydra/launcher=slurm" in command])
def test_a_command_of_the_page_runs(command: str, slurm: Slurm, folder: Path) -> None:
    succeeded(run_short(command, folder, **slurm))
    assert len(list(folder.glob("runs/*/*_sweep/*/summary.json"))) >= 2
