"""Training in two processes on two cores, compared with one process on both.

    python benchmarks/two_processes.py

The peer is this project with one process. Two exchange their gradients in every step, here over the loopback.
"""

import re
import sys
from pathlib import Path

from harness import Row, alternate, arguments, kept, output, table, train_command

_STEPS_ALONE = ["training.eval_iters=1", "training.exact_tokens=1000"]  # nearly: evaluations of a text are short
_WORK = {
    "v7": ["model=v7", *_STEPS_ALONE, "training.max_iters=12"],
    "v7_cpu": ["experiment=v7_cpu", *_STEPS_ALONE, "training.max_iters=300"],
    "transformer": ["model=transformer", "data=multi30k", "training.max_iters=40"],
}
_SMALL = ["training.max_iters=2", "model.n_embd=12", "model.n_layer=1", "training.batch_size=2"]
_QUICK = {
    "v7": ["model=v7", *_STEPS_ALONE, *_SMALL],
    "v7_cpu": ["experiment=v7_cpu", *_STEPS_ALONE, *_SMALL],
    "transformer": ["experiment=reverse", "data.size=500", "training.max_iters=2"],
}


def rows(repeats: int, *, quick: bool, device: str = "cpu") -> list[Row]:
    """Tokens per second in training steps."""
    with kept(None) as folder:
        works = _QUICK if quick else _WORK
        return [_row(work, [*own, f"device={device}"], repeats, folder) for work, own in works.items()]


def _row(work: str, own: list[str], repeats: int, folder: Path) -> Row:
    alone = train_command(*own, "training.eval_interval=1000000", "schedule.warmup_iters=0")
    together = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *alone[1:]]
    measured = alternate(repeats, lambda: _speed(together, folder), lambda: _speed(alone, folder))
    return Row(f"{work}, two processes", "tokens/s", measured, "one process", more_is_better=True)


def _speed(command: list[str], folder: Path) -> float:
    return float(re.findall(r"steps, ([\d,]+) tokens/s;", output(command, folder))[0].replace(",", ""))


if __name__ == "__main__":
    given = arguments(__doc__)
    print(table(rows(given.repeats, quick=given.quick)))
