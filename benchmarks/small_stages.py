"""Whole documented runs of the small stages, from the start of Python to its exit.

    python benchmarks/small_stages.py --lecture PATH       # all of them
    python benchmarks/small_stages.py --lecture PATH v6    # some of them

The peers are the lecture's own scripts with the stages' hyperparameters: the same numbers of iterations, evaluations,
batches per evaluation and sampled characters.
"""

import sys
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

from harness import (
    QUICK_TRAINING,
    Row,
    alternate,
    arguments,
    table,
    train_command,
    wall_seconds,
    with_constants,
)

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
_QUICK: dict[str, object] = {"max_iters": 4, "eval_interval": 2, "eval_iters": 1}


def rows(lecture: Path | None, repeats: int, *, quick: bool, stages: Collection[str] = _STAGES) -> list[Row]:
    """v6 and v1 against the lecture's scripts; v2 to v5, which should take no longer than v6."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

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
        if "v6" in stages:
            gpt = theirs("gpt.py", _V6)
            found += [row("v6", "lecture gpt.py", gpt)]
            found += [row("v6", "lecture gpt.py", gpt, "compile=true")]  # the run that does not count fills the cache
        if "v1" in stages:
            found += [row("v1", "lecture bigram.py", theirs("bigram.py", _V1))]
        return found + [row(stage) for stage in _STAGES[2:] if stage in stages]


if __name__ == "__main__":
    given = arguments(__doc__, "lecture", names=_STAGES)
    print(table(rows(given.lecture, given.repeats, quick=given.quick, stages=given.names)))
