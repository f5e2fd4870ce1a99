"""Every file operation of a run fails once, and is once the last before a kill."""

import csv
import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

from gpt.runs.checkpoints import Checkpoints
from gpt.runs.folder import RunFolder
from tests.conftest import REPOSITORY, small_corpus
from tests.faults.folders import MAY_NOT_MOUNT, mounted
from tests.faults.scenarios import RESULTS, Outcome, finish, in_parallel, one_line, start, the_run, whole_run

_ERRORS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "EINTR": errno.EINTR, "EACCES": errno.EACCES, "a kill": 0}
# Two checkpoints, the first of which makes room for the second, and everything that a run can leave.
_TRAINING = [
    "model=v1", "training.max_iters=2", "training.eval_interval=2", "training.eval_iters=1", "training.batch_size=2",
    "training.learning_rate=0.1", "training.average_last=0.5", "training.log_interval=1", "checkpoint.interval=1",
    "checkpoint.min_seconds=0", "checkpoint.keep=1", "logger=csv", "device=cpu",
]  # fmt: skip
_PAGE = 4096  # bytes, of which a file system in memory hands out whole ones
_SPEED = ("seconds", "tokens_per_second")
_FILES = (*RESULTS, "averaged.safetensors", "metrics.csv")
# A run goes on without these, if it says so.
_DISPENSABLE = {"best.safetensors": "the best weights", "sample.txt": "the sample", "metrics.csv": "metrics.csv"}


def every_call(count: int, folder: Path) -> Outcome:
    """Each file operation of a new and of a resumed run fails once, or is the last before a kill: saved checkpoints
    survive, an error is one line, and the run ends with the files of the uninterrupted one.
    """
    library = folder / "failing_calls.so"
    try:
        source = Path(__file__).with_name("failing_calls.c")
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError):
        return Outcome(0, [], "needs Linux and a C compiler")
    # In a process that has the library loaded, and whose main module, unlike a file, need not be imported by each fork.
    code = f"from tests.faults import every_call; every_call.trials({count}, {str(folder)!r})"
    environment = os.environ | {"LD_PRELOAD": str(library)}
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Outcome(**json.loads(done.stdout))


def every_size(count: int, folder: Path) -> Outcome:
    """A real file system with room for 1, 2, 3 ... pages or files until the run fits: an error is one line, and once
    there is room the run ends with the files of the uninterrupted one. Where the final weights found room but no
    checkpoint did, a restart would overwrite the only result: it is refused, and the weights are kept.
    """
    whole, _ = whole_run(folder / "whole", *_TRAINING)
    sizes = [path.stat().st_size for path in whole.rglob("*")]
    most = {"size": sum(-(-size // _PAGE) for size in sizes) + 4, "nr_inodes": len(sizes) + 8}
    cases = [(limit, number) for limit in most for number in range(1, most[limit] + 1)]
    random.Random(0).shuffle(cases)
    wrong = []
    for limit, number in cases[:count]:
        place = folder / f"{limit}_{number}"
        with mounted(place, f"{limit}={number * (_PAGE if limit == 'size' else 1)}") as is_mounted:
            if not is_mounted:
                return Outcome(0, [], MAY_NOT_MOUNT)
            code, _, err = finish(start(*_TRAINING, f"runs={place / 'runs'}", cwd=folder))
            said = one_line(code, err, 1, 2) if code else []
            run = the_run(place)
            if run is not None and Checkpoints(RunFolder(run), 1).names() and not _newest(run):
                said.append("no checkpoint is intact")
            warnings = err if code == 0 else ""
            subprocess.run(["mount", "-o", "remount,size=4m,nr_inodes=1000", str(place)], check=True)
            is_finished = run is not None and RunFolder(run).is_finished()
            if run is not None and not is_finished and not _newest(run) and (run / "last.safetensors").exists():
                said += _refused(run, whole)
            else:
                if not is_finished:
                    again = [*_TRAINING, f"runs={place / 'runs'}"] if run is None else [f"resume={run}"]
                    code, _, err = finish(start(*again, cwd=folder))
                    said += [f"it does not go on: {err[-300:]}"] if code else []
                said += _different(folder / "whole", place, None, warnings)
            wrong += [f"{limit}={number}: {what}" for what in said]
    return Outcome(len(cases[:count]), wrong)


def _refused(run: Path, whole: Path) -> list[str]:
    """What is wrong with how a run that has its final weights but no checkpoint is resumed: it must not be."""
    code, _, err = finish(start(f"resume={run}", cwd=run))
    wrong = one_line(code, err, 1)
    if "restarting it would overwrite its results" not in err:
        wrong.append(f"it is not refused: {err[-300:]}")
    if _content(run / "last.safetensors") != _content(whole / "last.safetensors"):
        wrong.append("the final weights are lost")
    return wrong


def _failing(place: Path, call: int, error: int) -> dict[str, str]:
    """The environment in which operation number `call` below `place` fails; none fails if that is 0."""
    settings = {"FOLDER": place, "JOURNAL": _journal(place), "CALL": call, "ERRNO": error}
    return os.environ | {f"FAILING_{name}": str(value) for name, value in settings.items()}


def _journal(place: Path) -> Path:
    return place.with_name(f"{place.name}.journal")


def _operations(place: Path) -> list[str]:
    """The operations of the last process with `_failing(place)`, such as "fsync runs/.../metrics.jsonl"."""
    return _journal(place).read_text().splitlines()


def _saved(operations: list[str]) -> int:
    """The iteration of the last checkpoint that these operations put in its place, or 0."""
    renamed = (re.fullmatch(r"rename .*/checkpoints/(\d{8})", line) for line in operations)
    return max((int(match[1]) for match in renamed if match), default=0)


def _arguments(place: Path) -> list[str]:
    run = the_run(place)
    return _TRAINING if run is None else [f"resume={run}"]


def _templates(folder: Path) -> dict[str, tuple[Path, int]]:
    """A folder in which the training starts and one in which it is resumed, with the number of operations of each."""
    new, killed = folder / "new", folder / "killed"
    new.mkdir()
    (new / "corpus.txt").write_text(small_corpus())

    def operations(place: Path, template: Path, last: int = 0) -> list[str]:
        shutil.copytree(template, place)
        code, _, err = finish(start(*_arguments(place), cwd=place, environment=_failing(place, last, 0)))
        assert code == (-signal.SIGKILL if last else 0), err
        return _operations(place)

    whole = operations(folder / "whole", new)
    # Killed when the first checkpoint is in its place, and that is on the disk.
    saved = next(number for number in range(len(whole)) if _saved(whole[:number]))
    operations(
        killed, new, next(number for number in range(saved, len(whole)) if whole[number].startswith("fsync")) + 1
    )
    return {"new": (new, len(whole)), "resumed": (killed, len(operations(folder / "resumed", killed)))}


def _trial(number: int, *, cases: list[tuple[str, Path, int, str]], folder: Path) -> list[str]:
    phase, template, call, fault = cases[number]
    place = Path(shutil.copytree(template, folder / str(number)))
    before = the_run(place)
    code, out, err = finish(start(*_arguments(place), cwd=place, environment=_failing(place, call, _ERRORS[fault])))
    operations = _operations(place)
    failed = operations.pop(call - 1) if fault != "a kill" else operations[-1]
    wrong, saved = [], _saved(operations) or (0 if before is None else 1)
    if fault == "a kill":
        wrong += [] if code == -signal.SIGKILL else [f"exit code {code}"]
    elif code:
        wrong += one_line(code, err, 1, 2)
    elif any(line.startswith(("Traceback", "error: ")) for line in err.splitlines()):
        wrong.append(f"exit code 0, {err!r}")
    elif before is not None and "from iteration 1" not in out:
        wrong.append(f"not resumed from its checkpoint: {err!r}")
    run = the_run(place)
    if saved and (run is None or _newest(run) < saved):
        wrong.append(f"checkpoint {saved} is lost")
    warnings = err if code == 0 else ""
    if run is None or not RunFolder(run).is_finished():
        code, _, err = finish(start(*_arguments(place), cwd=place))
        wrong += [f"it does not go on: {err[-300:]}"] if code else []
    wrong += _different(folder / "whole", place, before, warnings)
    shutil.rmtree(place)
    return [f"a {phase} run, {fault} at operation {call} ({failed}): {what}" for what in wrong]


def _different(reference: Path, place: Path, before: Path | None, warnings: str) -> list[str]:
    """What a finished run lacks or has, compared with the uninterrupted one, and with itself before it was resumed."""
    run, whole = the_run(place), the_run(reference)
    assert run is not None
    assert whole is not None
    wrong = [f"{path.name} is left behind" for path in run.rglob(".*") if path.name != ".lock"]
    for name in _FILES:
        is_same = (run / name).exists() and _content(run / name) == _content(whole / name)
        if not is_same and _DISPENSABLE.get(name, "no warning") not in warnings:
            wrong.append(f"{name} differs")
        if is_same and name == "best.safetensors" and RunFolder(run).summary().best != RunFolder(whole).summary().best:
            wrong.append("the summary is about other weights than the best")
    commands = [command.iteration for command in RunFolder(run).commands()]
    if commands[:1] != [0] or (before is not None and 1 not in commands):
        wrong.append(f"only the commands from iterations {commands} are kept")
    return wrong


def _content(path: Path) -> bytes | list[dict[str, str]]:
    """What two runs have in common: all bytes, or of a table the columns that do not depend on the machine's speed."""
    if path.suffix != ".csv":
        return path.read_bytes()
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: row[key] for key in row if key not in _SPEED} for row in csv.DictReader(file)]


def _newest(run: Path) -> int:
    checkpoint = Checkpoints(RunFolder(run), 1).newest()
    return checkpoint.progress.iteration if checkpoint else 0


def trials(count: int, folder: str) -> None:
    """Try up to `count` cases, drawn from all of them, and print the outcome as JSON."""
    templates = _templates(Path(folder))
    cases = [
        (phase, template, call, fault)
        for phase, (template, calls) in templates.items()
        for call in range(1, calls + 1)
        for fault in _ERRORS
    ]
    random.Random(0).shuffle(cases)
    cases = cases[:count]
    wrong = in_parallel(partial(_trial, cases=cases, folder=Path(folder)), len(cases))
    print(json.dumps(asdict(Outcome(len(cases), wrong))))
