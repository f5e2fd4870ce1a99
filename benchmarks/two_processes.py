"""Training in two processes on two cores, or on two GPUs, compared with one process.

    python benchmarks/two_processes.py

The peer is this project with one process. Two exchange their gradients in every step, here over the loopback.
"""

import argparse
import re
import sys
from functools import partial
from pathlib import Path

from harness import Row, compared, kept, output, parser, table, train_command

_STEPS_ALONE = ["training.eval_iters=1", "training.exact_tokens=1000"]  # nearly: evaluations of a text are short
_WORK = {
    "v7": ["model=v7", *_STEPS_ALONE, "training.max_iters=12"],
    "v7_cpu": ["experiment=v7_cpu", *_STEPS_ALONE, "training.max_iters=300"],
    "transformer": ["model=transformer", "data=multi30k", "training.max_iters=40"],
}
_QUICK = {"transformer": ["experiment=reverse", "data.size=500", "training.max_iters=2"]}


def rows(given: argparse.Namespace) -> list[Row]:
    """Tokens per second in training steps."""
    found = []
    with kept() as folder:
        for work, own in (_QUICK if given.quick else _WORK).items():
            alone = train_command(*own, "training.eval_interval=1000000", "schedule.warmup_iters=0")
            both = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *alone[1:]]
            ours, theirs = (partial(_speed, command, folder) for command in (both, alone))
            found.append(compared(given, f"{work}, two processes", "tokens/s", ours, "one process", theirs))
    return found


def _speed(command: list[str], folder: Path) -> float:
    return float(re.findall(r"steps, ([\d,]+) tokens/s;", output(command, folder))[0].replace(",", ""))


if __name__ == "__main__":
    given = parser(__doc__).parse_args()
    print(table(rows(given)))
