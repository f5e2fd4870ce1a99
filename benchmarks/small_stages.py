"""Whole documented runs of the small stages, from the start of Python to its exit: seconds, and memory.

    python benchmarks/small_stages.py --lecture PATH

The peers are the lecture's own scripts with the stages' hyperparameters: the same numbers of iterations, evaluations,
batches per evaluation and sampled characters. A run of v5 has its peak of memory beside that of importing PyTorch with
the corpus as a tensor; eight seeds of v3 train as one sweep on all cores, and one after the other.
"""

import argparse
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from harness import QUICK_TRAINING, Row, compared, kept, output, parser, table, train_command, wall_seconds

from gpt.base.installation import TINY_SHAKESPEARE

_COMMON = {"batch_size": 32, "block_size": 8, "eval_interval": 500, "eval_iters": 200, "learning_rate": 1e-3}
_OWN: dict[str, dict[str, object]] = {
    "gpt.py": {"max_iters": 5000, "n_embd": 32, "n_head": 4, "n_layer": 3, "dropout": 0.0},
    "bigram.py": {"max_iters": 16000},
}
_QUICK = {"max_iters": 4, "eval_interval": 2, "eval_iters": 1}
_IMPORTS = f"""
import torch
text = open({str(TINY_SHAKESPEARE)!r}).read()
ids = {{c: i for i, c in enumerate(sorted(set(text)))}}
torch.tensor([ids[c] for c in text])
"""
_PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def rows(given: argparse.Namespace) -> list[Row]:
    """v6 and v1 against the lecture's scripts; v2 to v5, which should take no longer than v6; memory and seeds."""
    short = QUICK_TRAINING if given.quick else []
    with kept() as folder:

        def row(stage: str, script: str = "") -> Row:
            theirs: Callable[[], float] | None = None
            if script and given.lecture:
                constants = _COMMON | _OWN[script] | (_QUICK if given.quick else {})
                changed = with_constants(given.lecture / script, constants, folder)
                theirs = partial(wall_seconds, [sys.executable, str(changed)], folder)
            ours = partial(wall_seconds, train_command(f"model={stage}", "device=cpu", *short), folder)
            work = f"{stage}, documented run, whole process"
            return compared(given, work, "s", ours, f"lecture {script}" if script else "-", theirs)

        peaks = [
            partial(_peak_megabytes, command, folder)
            for command in (train_command("model=v5", "device=cpu", *short), [sys.executable, "-c", _IMPORTS])
        ]
        seeds = "seed=1,2" if given.quick else "seed=1,2,3,4,5,6,7,8"
        sweep = train_command("-m", "model=v3", "device=cpu", seeds, *short)
        sweeps = [partial(wall_seconds, [*sweep, *more], folder) for more in (["hydra/launcher=joblib"], [])]
        found = [row("v6", "gpt.py"), row("v1", "bigram.py")]
        if not given.quick:
            found += map(row, ("v2", "v3", "v3_ffn", "v4", "v5"))
        return [
            *found,
            compared(given, "v5, documented run, peak memory", "MB", peaks[0], "import torch and the corpus", peaks[1]),
            compared(given, "eight seeds of v3 as a sweep", "s", sweeps[0], "one after the other", sweeps[1]),
        ]


def with_constants(script: Path, constants: dict[str, object], folder: Path) -> Path:
    """A peer's script, in `folder` and with its module-level constants set; with the corpus next to it as input.txt."""
    source = script.read_text()
    for name, value in constants.items():
        source, found = re.subn(rf"^{name} = .*$", f"{name} = {value!r}", source, flags=re.MULTILINE)
        if found != 1:
            raise SystemExit(f"{script} has no constant {name}; is it the checkout that is expected?")
    (folder / "input.txt").write_bytes(TINY_SHAKESPEARE.read_bytes())
    changed = folder / script.name
    changed.write_text(source)
    return changed


def _peak_megabytes(command: list[str], cwd: Path) -> float:
    """The peak resident memory of a process."""
    unit = 1024 if sys.platform != "darwin" else 1024**2
    return float(output([sys.executable, "-c", _PEAK, *command], cwd)) / unit


if __name__ == "__main__":
    given = parser(__doc__, "lecture").parse_args()
    print(table(rows(given)))
