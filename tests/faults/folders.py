"""Faults of run folders and disks: requests on finished runs, links that lead out of a folder, a full file system."""

import contextlib
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import REPOSITORY
from tests.faults.scenarios import (
    STAGES,
    Outcome,
    differences,
    finish,
    in_parallel,
    one_line,
    short,
    start,
    tree,
    whole_run,
)  # fmt: skip
from tests.forked import Forked

_REFUSED = (
    "training.max_iters=10", "training.max_iters=0", "training.max_iters=1e9", "training.batch_size=2000000000",
    "training.learning_rate=nan", "model=v2", "model.block_size=9", "seed=7", "device=cuda", "device=tpu", "dtype=x",
    "optimizer=sgd", "optimizer=nothing", "schedule=nothing", "checkpoint.keep=0", "logger=nothing", "experiment=copy",
    "data.train_fraction=0.4", "nonsense=1", "training.nonsense=1", "runs=elsewhere", "training.grad_accumulation=3",
)  # fmt: skip

MAY_NOT_MOUNT = "the user may not mount a file system"


def requests(count: int, folder: Path) -> Outcome:
    """Requests on a finished run that are refused, fail or change nothing: every byte of its folder stays."""
    # Two at a time, on a run each: one process at a time can write a run.
    runs = [whole_run(folder / str(number), *STAGES["v5"], *short(100))[0] for number in range(2)]
    before = tree(folder)

    def half(first: int) -> list[str]:
        return [line for number in range(first, count, 2) for line in trial(runs[first], number)]

    def trial(run: Path, number: int) -> list[str]:
        draw = random.Random(number)
        place = draw.choice([run, run, *(run / "checkpoints").iterdir()])
        asked = draw.sample(_REFUSED, draw.randint(0, 2))
        code, _, err = finish(start(f"resume={place}", *asked, cwd=folder / "0"))
        return [] if code == 0 else [f"resume={place.name} {asked}: {what}" for what in one_line(code, err, 1, 2)]

    wrong = in_parallel(half, 2)
    after = tree(folder)
    changed = [name for name in {*before, *after} if before.get(name) != after.get(name)]
    return Outcome(count, [*wrong, *(f"{name} changed" for name in changed)])


def moves(count: int, folder: Path) -> Outcome:
    """A run's folder moved or removed at random moments, mostly with another run begun at its place: the first run
    ends with one line, the other with the files of an undisturbed one, as does the first once it is resumed.
    """
    settings = [*short(300), "training.eval_iters=10", "checkpoint.snapshots=5", "logger=csv", "hydra.run.dir=run"]
    wholes = [whole_run(folder / f"whole_{seed}", *STAGES["v1"], *settings, f"seed={seed}") for seed in (1, 2)]

    def trial(number: int) -> list[str]:
        draw, place = random.Random(number), folder / f"moved_{number}"
        place.mkdir()
        run, moved, is_kept, has_other = place / "run", place / "moved", draw.random() < 0.8, draw.random() < 0.8
        first = start(*STAGES["v1"], *settings, "seed=1", cwd=place)
        while not (run / "commands.jsonl").exists():
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.6) * wholes[0][1])
        run.rename(moved)
        if not is_kept:
            shutil.rmtree(moved)
        wrong = []
        if has_other:
            code, _, err = finish(start(*STAGES["v1"], *settings, "seed=2", cwd=place))
            wrong += [f"the other run: {err[-300:]}"] if code else []
        code, _, err = finish(first)
        wrong += one_line(code, err, 1) if code else []  # 0: it had finished
        if has_other:
            wrong += [f"{name} of the other run" for name in differences(wholes[1][0], run)]
        elif run.exists():
            wrong.append(f"{[*tree(run)]} came back")
        if is_kept:
            code, _, err = finish(start(f"resume={moved}", cwd=place))
            wrong += [err[-300:]] if code else [f"{name} of the first" for name in differences(wholes[0][0], moved)]
        shutil.rmtree(place)
        return [f"trial {number}: {what}" for what in wrong]

    return Outcome(count, in_parallel(trial, count))


def _links(run: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Copies of a run with a link, a pipe or a device in place of each of its files and folders."""
    victims = folder / "victims"
    victims.mkdir()
    names = [path.relative_to(run) for path in sorted(run.rglob("*"))]
    for name in names:
        kinds = ["link", "dangling link", "pipe", "device", "hard link", "folder"]
        for kind in kinds:
            copy = Path(shutil.copytree(run, folder / f"copy_{len(list(folder.iterdir()))}"))
            path, victim = copy / name, victims / f"{len(list(victims.iterdir()))}"
            is_folder = path.is_dir()
            if is_folder and kind in ("hard link", "folder"):
                shutil.rmtree(copy)
                continue
            path.rename(victim)
            if kind == "link":
                path.symlink_to(victim)
            elif kind == "dangling link":
                path.symlink_to(victims / "nowhere")
            elif kind == "pipe":
                os.mkfifo(path)
            elif kind == "device":
                path.symlink_to("/dev/zero")
            elif kind == "hard link":
                os.link(victim, path)
            else:
                path.mkdir()
            yield f"{kind} as {name}", copy


def links(count: int, folder: Path) -> Outcome:
    """Links, pipes, devices and folders in place of a run's files: nothing behind them changes, and nothing hangs."""
    run, _ = whole_run(folder / "whole", *STAGES["v5"], *short(20), "logger=csv")
    cases = list(_links(run, folder / "whole"))
    random.Random(0).shuffle(cases)
    cases = cases[:count]
    victims = folder / "whole" / "victims"
    before = tree(victims)

    def trial(number: int) -> list[str]:
        what, copy = cases[number]
        wrong = []
        for command in (
            ["generate.py", f"run={copy}", "tokens=5"], ["evaluate.py", f"run={copy}"],
            ["train.py", f"resume={copy}", "training.max_iters=40"],
        ):  # fmt: skip
            try:
                path = str(REPOSITORY / command[0])
                done = Forked([path, *command[1:]], folder / "whole").finished(timeout=120)
            except subprocess.TimeoutExpired:
                wrong.append(f"{what}: {command[0]} hangs")
                continue
            if done.returncode:
                wrong += [f"{what}, {command[0]}: {line}" for line in one_line(done.returncode, done.stderr, 1, 2)]
        return wrong

    wrong = in_parallel(trial, len(cases))
    after = tree(victims)
    changed = [name for name in {*before, *after} if before.get(name) != after.get(name)]
    return Outcome(len(cases), [*wrong, *(f"{name} behind a link changed" for name in changed)])


@contextlib.contextmanager
def mounted(place: Path, limits: str) -> Iterator[bool]:
    """Mount a file system with these limits, such as size=4m; false where that is not permitted."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", limits, "tmpfs", str(place)]
    is_mounted = shutil.which("mount") is not None and subprocess.run(command, capture_output=True).returncode == 0
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=True)
