"""Disks: every file operation of a run fails once or is the last, and file systems with room for too little.

A run is started anew and resumed from its first checkpoint; afterwards there is room, or nothing fails.
"""

import contextlib
import errno
import random
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpt.runs.checkpoints import Checkpoints
from gpt.runs.folder import RunFolder
from tests.faults.trials import check, command, differences, finish, one_line, repeated, runs_in, start, whole_run
from tests.forked import Forked

_ERRORS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "EINTR": errno.EINTR, "EACCES": errno.EACCES, "a kill": 0}
# Two checkpoints, the first of which makes room for the second, and everything that a run can leave.
_TRAINING = [
    "model=v1", "training.max_iters=2", "training.eval_interval=2", "training.eval_iters=1", "training.batch_size=2",
    "training.learning_rate=0.1", "training.average_last=0.5", "training.log_interval=1", "checkpoint.interval=1",
    "checkpoint.min_seconds=0", "checkpoint.keep=1", "device=cpu",
]  # fmt: skip
_PAGE = 4096  # bytes, of which a file system in memory hands out whole ones
_DISPENSABLE = {"best.safetensors": "the best weights", "sample.txt": "the sample"}  # if the run says so


@repeated(0, 30, 10_000)
def test_every_operation_can_fail_or_be_the_last(count: int, tmp_path: Path) -> None:
    """Saved checkpoints survive, an error is one line, and the run ends with the files of the uninterrupted one."""
    new, killed, whole = tmp_path / "new", tmp_path / "killed", tmp_path / "whole"
    new.mkdir()
    command(cwd=new)  # the corpus
    shutil.copytree(new, whole)
    everything = _failing(whole, 0, 0)[3]
    saved = next(number for number in range(len(everything)) if _saved(everything[:number]))
    shutil.copytree(new, killed)
    _failing(killed, saved + 3, 0)  # after the flush of the folder of checkpoints
    shutil.copytree(killed, tmp_path / "resumed")
    again = _failing(tmp_path / "resumed", 0, 0)[3]
    lengths = [(new, len(everything)), (killed, len(again))]
    cases = [(place, n + 1, fault) for place, length in lengths for n in range(length) for fault in _ERRORS]
    random.Random(0).shuffle(cases)

    def trial(case: int, place: Path) -> Iterator[str]:
        template, call, fault = cases[case]
        shutil.copytree(template, place, dirs_exist_ok=True)
        before = runs_in(place)
        code, out, err, operations = _failing(place, call, _ERRORS[fault])
        failed = operations[-1] if fault == "a kill" else operations.pop(call - 1)
        wrong = []
        if fault == "a kill":
            wrong += [] if code == -signal.SIGKILL else [f"exit code {code}"]
        elif code:
            wrong += one_line(code, err, 1, 2)
        elif any(line.startswith(("Traceback", "error: ")) for line in err.splitlines()):
            wrong.append(f"exit code 0, {err!r}")
        elif before and "from iteration 1" not in out:
            wrong.append(f"not resumed from its checkpoint: {err!r}")
        if max(map(_newest, runs_in(place)), default=0) < (_saved(operations) or len(before)):
            wrong.append("a checkpoint is lost")
        wrong += _finished(place, whole, len(before), "" if code else err)
        yield from (f"{template.name}, {fault} at {call}, {failed}: {what}" for what in wrong)

    check(trial, min(count, len(cases)), tmp_path)


def _failing(place: Path, call: int, error: int) -> tuple[int, str, str, list[str]]:
    """Start or resume the run in `place`; operation number `call` fails. How it ends, and its operations."""
    failing = [str(Path(__file__).with_name("failing.py")), str(place), str(call), str(error)]
    ended = finish(Forked([*failing, *command(*_arguments(place), cwd=place)], place))
    return *ended, Path(f"{place}.journal").read_text().splitlines()


def _arguments(place: Path) -> list[str]:
    runs = runs_in(place)
    return [f"resume={runs[0]}"] if runs else [*_TRAINING, f"runs={place / 'runs'}"]


def _saved(operations: list[str]) -> int:
    """The iteration of the last checkpoint that these operations put in its place, or 0."""
    renamed = (re.fullmatch(r"os.rename .*/checkpoints/(\d{8})", line) for line in operations)
    return max((int(match[1]) for match in renamed if match), default=0)


def _newest(run: Path) -> int:
    checkpoint = Checkpoints(RunFolder(run), 1).newest()
    return checkpoint.progress.iteration if checkpoint else 0


@repeated(2, 4, 1000)
def test_a_full_disk_costs_a_line_and_no_checkpoint(count: int, tmp_path: Path) -> None:
    """Room for 1, 2, 3 ... pages or files. Where the final weights found room but no checkpoint did, a restart would
    overwrite the only result: it is refused, and the weights are kept.
    """
    whole, _ = whole_run(tmp_path / "whole", *_TRAINING)
    sizes = [path.stat().st_size for path in whole.rglob("*")]
    most = {"size": sum(-(-size // _PAGE) for size in sizes) + 4, "nr_inodes": len(sizes) + 8}
    cases = [(limit, number) for limit in most for number in range(1, most[limit] + 1)]
    random.Random(0).shuffle(cases)

    def trial(case: int, place: Path) -> Iterator[str]:
        limit, number = cases[case]
        with _mounted(place, f"{limit}={number * (_PAGE if limit == 'size' else 1)}"):
            code, _, err = finish(start(*_arguments(place), cwd=tmp_path))
            yield from one_line(code, err, 1, 2) if code else []
            run = next(iter(runs_in(place)), None)
            is_lost = run is not None and not _newest(run)
            if is_lost and RunFolder(run).checkpoints():
                yield f"{limit}={number}: no checkpoint is intact"
            subprocess.run(["mount", "-o", "remount,size=4m,nr_inodes=1000", str(place)], check=True)
            if is_lost and not RunFolder(run).is_finished() and (run / "last.safetensors").exists():
                code, _, err = finish(start(f"resume={run}", cwd=tmp_path))
                is_refused = "restarting it would overwrite its results" in err and not one_line(code, err, 1)
                wrong = [] if is_refused else [f"it is not refused: {err[-300:]}"]
                is_kept = (run / "last.safetensors").read_bytes() == (whole / "last.safetensors").read_bytes()
                wrong += [] if is_kept else ["the weights are lost"]
            else:
                wrong = _finished(place, whole.parents[2], 0, "" if code else err)
            yield from (f"{limit}={number}: {what}" for what in wrong)

    check(trial, min(count, len(cases)), tmp_path)


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


def _finished(place: Path, reference: Path, resumed: int, warnings: str) -> list[str]:
    """Finish the run in `place` unless it is: what is wrong with it, compared with the uninterrupted one."""
    if not any(RunFolder(run).is_finished() for run in runs_in(place)):
        code, _, err = finish(start(*_arguments(place), cwd=reference))
        if code:
            return [f"it does not go on: {err[-300:]}"]
    (run,), (whole,) = runs_in(place), runs_in(reference)
    told = [name for name, words in _DISPENSABLE.items() if words in warnings]
    wrong = [f"{path.name} is left behind" for path in run.rglob(".*") if path.name != ".lock"]
    wrong += differences(whole, run, told)
    if "best.safetensors" not in told and RunFolder(run).summary().best != RunFolder(whole).summary().best:
        wrong.append("the summary is about other weights than the best")
    commands = [command.iteration for command in RunFolder(run).record().commands]
    if commands[:1] != [0] or (resumed and 1 not in commands):
        wrong.append(f"only the commands from iterations {commands} are kept")
    return wrong
