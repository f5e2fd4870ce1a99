"""How much longer the same work takes if OpenMP's waiting threads spin, on an idle machine and on a busy one.

    python benchmarks/busy_machine.py                # all of it: an hour
    python benchmarks/busy_machine.py v6 generation  # some of it

`gpt` makes waiting threads sleep; by default, libgomp lets them spin for a few milliseconds first. Each workload is a
whole process, measured with both settings in turn: on an idle machine, and beside two processes that occupy a core
each.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

from harness import (
    QUICK_TRAINING,
    SLEEPING,
    SPINNING,
    Row,
    alternate,
    arguments,
    table,
    train_command,
    wall_seconds,
)

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
    "v7_cpu": "experiment=v7_cpu, 100 iterations",
    "transformer": "transformer, 50 iterations",
    "generation": "v7-size generation, 1 x 500 characters",
    "sweep": "two seeds of v3, 2,000 iterations, as a sweep of two jobs",
}


def rows(names: list[str], repeats: int, *, quick: bool) -> Iterator[Row]:
    """Seconds of each workload, idle and beside the busy processes."""
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            run = partial(wall_seconds, _command(name, quick=quick), Path(folder))
            for state, others in (("idle", nullcontext()), (f"beside {_BUSY_PROCESSES} busy loops", _busy())):
                with others:
                    measured = alternate(repeats, partial(run, SLEEPING), partial(run, SPINNING))
                yield Row(f"{_WORKS[name]}, {state}", "s", measured, "libgomp's defaults")


def _command(name: str, *, quick: bool) -> list[str]:
    short = QUICK_TRAINING if quick else _SHORT
    if name == "v7_cpu":
        iterations = 2 if quick else 100
        length = [f"training.max_iters={iterations}", "schedule.warmup_iters=0", "training.eval_iters=5"]
        return train_command("experiment=v7_cpu", "device=cpu", *length)
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


if __name__ == "__main__":
    given = arguments(__doc__, names=_WORKS)
    measured: list[Row] = []
    for row in rows(given.names, given.repeats, quick=given.quick):
        measured.append(row)
        print(table([row]), file=sys.stderr)  # it takes an hour: what is known already
    print(table(measured))
