"""Whole documented runs of the small stages, from the start of Python to its exit: seconds, and memory.

    python benchmarks/small_stages.py --lecture PATH       # all of them
    python benchmarks/small_stages.py --lecture PATH v6    # some of them

The peers are the lecture's own scripts with the stages' hyperparameters: the same numbers of iterations, evaluations,
batches per evaluation and sampled characters. `memory` is the peak of a run of v5, beside that of importing PyTorch
with the corpus as a tensor; `seeds` trains eight seeds of v3 as one sweep on all cores, and one after the other.
"""

import sys
from collections.abc import Callable, Collection
from pathlib import Path

from harness import (
    QUICK_TRAINING,
    Row,
    alternate,
    arguments,
    kept,
    output,
    table,
    train_command,
    wall_seconds,
    with_constants,
)

from gpt.base.installation import TINY_SHAKESPEARE
from gpt.base.ladder import SMALL

_COMMON: dict[str, object] = {
    "batch_size": 32,
    "block_size": 8,
    "eval_interval": 500,
    "eval_iters": 200,
    "learning_rate": 1e-3,
}
_V6: dict[str, object] = {"max_iters": 5000, "n_embd": 32, "n_head": 4, "n_layer": 3, "dropout": 0.0}
_V1: dict[str, object] = {"max_iters": 16000}
_STAGES = ("v6", *SMALL[:-1])  # the longest first
_NAMES = (*_STAGES, "memory", "seeds")
_QUICK: dict[str, object] = {"max_iters": 4, "eval_interval": 2, "eval_iters": 1}
_LEAST = f"""
import torch
text = open({str(TINY_SHAKESPEARE)!r}).read()
ids = {{c: i for i, c in enumerate(sorted(set(text)))}}
torch.tensor([ids[c] for c in text])
"""


def rows(lecture: Path | None, repeats: int, *, quick: bool, names: Collection[str] = _NAMES) -> list[Row]:
    """v6 and v1 against the lecture's scripts; v2 to v5, which should take no longer than v6; memory and seeds."""
    with kept(None) as folder:

        def ours(*arguments: str) -> Callable[[], float]:
            changes = QUICK_TRAINING if quick else []
            return lambda: wall_seconds(train_command(*arguments, "device=cpu", *changes), folder)

        def theirs(script: str, constants: dict[str, object]) -> Callable[[], float] | None:
            if lecture is None:
                return None
            changed = with_constants(lecture / script, _COMMON | constants | (_QUICK if quick else {}), folder)
            return lambda: wall_seconds([sys.executable, str(changed)], folder)

        def row(stage: str, peer: str = "-", side: Callable[[], float] | None = None, *arguments: str) -> Row:
            measured = alternate(repeats, ours(f"model={stage}", *arguments), side)
            return Row(" ".join([f"{stage}, documented run, whole process", *arguments]), "s", measured, peer)

        found = []
        if "v6" in names:
            gpt = theirs("gpt.py", _V6)
            found += [row("v6", "lecture gpt.py", gpt)]
            found += [row("v6", "lecture gpt.py", gpt, "compile=true")]  # the run that does not count fills the cache
        if "v1" in names:
            found += [row("v1", "lecture bigram.py", theirs("bigram.py", _V1))]
        found += [row(stage) for stage in _STAGES[2:] if stage in names]
        if "memory" in names:
            found += [_memory(repeats, folder, quick=quick)]
        if "seeds" in names:
            found += [_seeds(repeats, folder, quick=quick)]
        return found


def _memory(repeats: int, folder: Path, *, quick: bool) -> Row:
    training = train_command("model=v5", "device=cpu", *(QUICK_TRAINING if quick else []))
    least = [sys.executable, "-c", _LEAST]
    measured = alternate(repeats, lambda: _peak_megabytes(training, folder), lambda: _peak_megabytes(least, folder))
    return Row("v5, documented run, peak memory", "MB", measured, "import torch and the corpus")


def _peak_megabytes(command: list[str], cwd: Path) -> float:
    """The peak resident memory of a process."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    unit = 1024 if sys.platform != "darwin" else 1024**2
    return float(output([sys.executable, "-c", code, *command], cwd)) / unit


def _seeds(repeats: int, folder: Path, *, quick: bool) -> Row:
    count, short = (2, QUICK_TRAINING) if quick else (8, [])
    values = ",".join(map(str, range(1, count + 1)))
    sweep = train_command("-m", "model=v3", "device=cpu", f"seed={values}", *short)
    measured = alternate(
        repeats, lambda: wall_seconds([*sweep, "hydra/launcher=joblib"], folder), lambda: wall_seconds(sweep, folder)
    )
    return Row("eight seeds of v3 as a sweep", "s", measured, "one after the other")


if __name__ == "__main__":
    given = arguments(__doc__, "lecture", names=_NAMES)
    print(table(rows(given.lecture, given.repeats, quick=given.quick, names=given.names)))
