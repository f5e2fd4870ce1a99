"""A Slurm cluster of one node: its daemons as ordinary processes, and all of their files in one folder.

It needs root, the Debian packages slurm-wlm and munge (or their like), and no systemd.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
_PATH = f"{os.environ['PATH']}:/usr/sbin"  # where Debian puts daemons
_STARTS_WITHIN = 60  # seconds

# A job in the partition `low` is pre-empted by one in `high`: it gets SIGTERM, and after GraceTime seconds it is killed
# and requeued. cred_expire is how many seconds a requeued job has to wait, 120 by default.
_CONFIGURATION = """
ClusterName=one
SlurmctldHost=localhost
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=1,sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=5
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={folder}/controller
SlurmctldPidFile={folder}/controller/pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdSpoolDir={folder}/node
SlurmdPidFile={folder}/node/pid
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
NodeName=localhost NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=low Nodes=localhost Default=YES State=UP PriorityTier=1 GraceTime=10
PartitionName=high Nodes=localhost State=UP PriorityTier=2 PreemptMode=OFF
"""


@contextlib.contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """Start the cluster; its commands need the variables that this yields in their environment.

    Raises RuntimeError if a program is missing or the node does not come up.
    """
    missing = [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]
    if missing:
        raise RuntimeError(f"there is no {missing[0]}: apt install slurm-wlm munge")
    for name in ("munge", "controller", "node"):
        (folder / name).mkdir(mode=0o700)
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    configuration = folder / "slurm.conf"
    controller_port, node_port = _free_ports(2)
    text = _CONFIGURATION.format(folder=folder, controller_port=controller_port, node_port=node_port)
    configuration.write_text(text.lstrip())
    variables = {"SLURM_CONF": str(configuration), "PATH": _PATH}

    files = [f"--{name}-file={folder}/munge/{name}" for name in ("key", "log", "pid", "seed")]
    munge = ["munged", "--foreground", "--force", f"--socket={folder}/munge/socket", *files]
    with contextlib.ExitStack() as stack:
        for command in (munge, ["slurmctld", "-D"], ["slurmd", "-D", "-N", "localhost"]):
            stack.enter_context(_daemon(command, variables))
            time.sleep(1)
        deadline = time.monotonic() + _STARTS_WITHIN
        while _output(["sinfo", "--noheader", "--format=%T", "--partition=low"], variables) != "idle":
            if time.monotonic() > deadline:
                raise RuntimeError(f"the node is not up: see {folder}/slurmctld.log and {folder}/slurmd.log")
            time.sleep(0.5)
        try:
            yield variables
        finally:
            subprocess.run(["scancel", "--user=root"], env=os.environ | variables)
            while _output(["squeue", "--noheader"], variables):
                time.sleep(0.5)


@contextlib.contextmanager
def _daemon(command: list[str], variables: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(
        command, env=os.environ | variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def _output(command: list[str], variables: dict[str, str]) -> str:
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True)
    return done.stdout.strip()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for free in sockets:
            free.bind(("localhost", 0))
        return [free.getsockname()[1] for free in sockets]
