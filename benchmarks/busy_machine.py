"""How long waiting threads should spin, on an idle machine and on a busy one.

    python benchmarks/busy_machine.py                # all of it: two hours
    python benchmarks/busy_machine.py v6 generation  # some of it

OpenMP's threads wait for each other thousands of times a second. One that spins keeps its core from other processes;
one that sleeps takes long to wake. Each workload is a whole process, measured with each spin count in turn: on an
idle machine, and beside two processes that occupy a core each.
"""

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path

from harness import (
    LIBGOMPS_SPINS,
    QUICK_TRAINING,
    WAITING,
    Row,
    alternate,
    arguments,
    machine,
    train_command,
    wall_seconds,
)
from tabulate import tabulate

_BUSY_PROCESSES = 2
_BUSY = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"  # no longer than the measurement
_SHORT = ["training.max_iters=2000"]

# Random weights at v7's size: they change no time.
_GENERATION = """
import gpt, sys, torch
from gpt.tasks.decoding.packing import packed
from gpt.tasks.decoding.sampling import generate
from gpt.models.v7_dropout import GPT
model = packed(GPT(65, 256, 384, 6, 6, 0.2), torch.float32)
for ids in generate(model, torch.tensor([0]), tokens=int(sys.argv[1]), num_samples=1, seed=1):
    ids.tolist()
"""

_WORKS = {
    "v1": "v1, 2,000 iterations",
    "v6": "v6, 2,000 iterations",
    "v7": "v7, 4 iterations",
    "v7_cpu": "experiment=v7_cpu, 100 iterations",
    "v8": "v8, 40 iterations",
    "transformer": "transformer, 50 iterations",
    "generation": "v7-size generation, 1 x 500 characters",
    "sweep": "two seeds of v3, 2,000 iterations, as a sweep of two jobs",
}
_ITERATIONS = {"v7": 4, "v7_cpu": 100, "v8": 40}
_OURS = int(WAITING["GOMP_SPINCOUNT"])


def rows(names: list[str], repeats: int, *, quick: bool) -> Iterator[list[str]]:
    """The median seconds of each workload for each spin count, idle and beside the busy processes."""
    counts = _spin_counts(quick=quick)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            command = _command(name, quick=quick)
            for state, others in _states():
                with others:
                    seconds = _measured(command, Path(folder), counts, repeats)
                yield [_WORKS[name], state, *(f"{statistics.median(found):.1f}" for found in seconds.values())]


def against_libgomp(repeats: int, *, quick: bool) -> list[Row]:
    """Generation, which wakes threads most often, beside the same with libgomp's own waiting."""
    command, found = _command("generation", quick=quick), []
    with tempfile.TemporaryDirectory() as folder:
        ours = partial(wall_seconds, command, Path(folder))
        theirs = partial(ours, settings=WAITING | {"GOMP_SPINCOUNT": f"{LIBGOMPS_SPINS}"})
        for state, others in _states():
            with others:
                work = f"{_WORKS['generation']}, whole process; other programs: {state}"
                found.append(Row(work, "s", alternate(repeats, ours, theirs), "libgomp's own waiting"))
    return found


def _states() -> Iterator[tuple[str, AbstractContextManager[None]]]:
    yield "none", nullcontext()
    yield f"{_BUSY_PROCESSES} busy loops", _busy()


def _spin_counts(*, quick: bool) -> list[int]:
    return [_OURS] if quick else [0, 1_000, _OURS, 10_000, LIBGOMPS_SPINS]


def _measured(command: list[str], folder: Path, counts: list[int], repeats: int) -> dict[int, list[float]]:
    """In turn, because a machine's speed drifts; the first time does not count, if anything is compared."""
    if len(counts) > 1:
        wall_seconds(command, folder)
    found: dict[int, list[float]] = {spins: [] for spins in counts}
    for _ in range(repeats):
        for spins, seconds in found.items():
            seconds.append(wall_seconds(command, folder, WAITING | {"GOMP_SPINCOUNT": f"{spins}"}))
    return found


def _command(name: str, *, quick: bool) -> list[str]:
    short = QUICK_TRAINING if quick else _SHORT
    if name in _ITERATIONS:
        iterations = 2 if quick else _ITERATIONS[name]
        length = [f"training.max_iters={iterations}", "schedule.warmup_iters=0", "training.eval_iters=5"]
        length += ["training.batch_size=2", "training.exact_tokens=1000"] if quick else ["training.exact_tokens=10000"]
        choice = "experiment=v7_cpu" if name == "v7_cpu" else f"model={name}"
        return train_command(choice, "device=cpu", *length)
    if name == "transformer":
        data = ["experiment=reverse", "data.size=500"] if quick else ["model=transformer", "data=multi30k"]
        iterations = 2 if quick else 50
        length = [f"training.max_iters={iterations}", f"training.eval_interval={iterations}", "schedule.warmup_iters=0"]
        return train_command(*data, "device=cpu", *length)
    if name == "generation":
        return [sys.executable, "-c", _GENERATION, "8" if quick else "500"]
    if name == "sweep":
        launcher = ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
        return train_command(*launcher, "model=v3", "seed=1,2", "device=cpu", *short)
    return train_command(f"model={name}", "device=cpu", *short)


@contextmanager
def _busy() -> Iterator[None]:
    """Run other processes that compute without pause."""
    loops = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(_BUSY_PROCESSES)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def _table(measured: list[list[str]], counts: list[int]) -> str:
    headers = ["work, seconds by spin count", "other programs", *(f"{spins:,}" for spins in counts)]
    return tabulate(measured, headers, "github", disable_numparse=True)


if __name__ == "__main__":
    given = arguments(__doc__, names=_WORKS)
    measured: list[list[str]] = []
    counts = _spin_counts(quick=given.quick)
    for row in rows(given.names, given.repeats, quick=given.quick):
        measured.append(row)
        print(_table([row], counts), file=sys.stderr)  # it takes hours: what is known already
    print(f"{machine()}\n\n{_table(measured, counts)}")
