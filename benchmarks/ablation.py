"""What each idea of v8 is worth at its own size and length, and what v9's counts are: the loss with one thing changed.

    python benchmarks/ablation.py                                  # all of it: several hours on two cores
    python benchmarks/ablation.py without_rotary without_counts    # some of it

v8 is trained as record 03 and v9 as record 04, then again with one thing changed, for the same number of updates. The
variants of v8's network are stages of their own (gpt/models/ablations/v8.py), which lack one of its ideas or have one
more. In v9, either the counts or the network is left out; the counts alone are v9 after an update with learning rates
of zero.
`--out` keeps the run folders; runs that it already holds are not trained again.
"""

import statistics
import sys
import tempfile
from pathlib import Path

from harness import QUICK_TRAINING, machine, output, parser, seeds, train_command
from tabulate import tabulate

from gpt.runs.folder import RunFolder

_TWINS = ["without_rotary", "without_token_shift", "without_squared_relu",
          "with_qk_norm", "with_rms_norm", "with_zero_init", "with_soft_cap"]  # fmt: skip
# By stage: how it is trained, and how each change is made.
WHOLE = {"v8": "experiment=records/03_v8", "v9": "experiment=records/04_counts"}
CHANGES = {
    "v8": {
        **{change: [f"model=v8_{change}"] for change in _TWINS},
        "without_muon": ["optimizer=adamw", "training.learning_rate=3e-3"],
        "without_linear_schedule": ["schedule=constant"],
    },
    "v9": {
        "without_counts": ["model=v8", "optimizer=muon", "training.max_iters=120"],
        "without_network": ["optimizer=adamw", "training.learning_rate=0.0", "training.max_iters=1"],
    },
}
_NAMES = [change for changes in CHANGES.values() for change in changes]
_ONLY_EXACT = ["training.eval_iters=1", "training.eval_interval=100000"]  # estimates would only take time here


def rows(stage: str, changes: list[str], seeds: list[int], out: Path, *, quick: bool) -> list[list[str]]:
    """A line for the stage itself, and one for each change."""
    common = [WHOLE[stage], *_ONLY_EXACT, *(QUICK_TRAINING if quick else [])]
    whole = [_trained(out / f"{stage}_seed{seed}", [*common, f"seed={seed}"]) for seed in seeds]
    lines = [[stage, "", *_cells(whole), ""]]
    for change in changes:
        changed = [*common, *CHANGES[stage][change], *(QUICK_TRAINING if quick else [])]
        runs = [_trained(out / f"{stage}_{change}_seed{seed}", [*changed, f"seed={seed}"]) for seed in seeds]
        difference = statistics.mean(_losses(runs)) - statistics.mean(_losses(whole))
        lines.append([stage, change.replace("_", " "), *_cells(runs), f"{difference:+.4f}"])
        print(*lines[-1], sep="\t", file=sys.stderr)
    return lines


def _trained(folder: Path, arguments: list[str]) -> RunFolder:
    run = RunFolder(folder)
    if not run.is_finished():
        output(train_command(*arguments, f"hydra.run.dir={folder}", "resume=auto"), folder.parent)
    return run


def _losses(runs: list[RunFolder]) -> list[float]:
    return [run.summary().exact.nats for run in runs]


def _cells(runs: list[RunFolder]) -> list[str]:
    losses, seconds = _losses(runs), [run.summary().counted_seconds or 0.0 for run in runs]
    deviation = f" ± {statistics.stdev(losses):.4f}" if len(losses) > 1 else ""
    iterations = runs[0].summary().iterations
    return [f"{iterations}", f"{statistics.mean(seconds):.1f}", f"{statistics.mean(losses):.4f}{deviation}"]


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("changes", nargs="*", metavar="CHANGE", help=f"of {', '.join(_NAMES)} (default: all)")
    options.add_argument("--seeds", type=seeds, default=[1, 2, 3], help="the seeds of each (default 1,2,3)")
    options.add_argument("--out", type=Path, help="where to keep the run folders")
    given = options.parse_args()
    if unknown := [change for change in given.changes if change not in _NAMES]:
        options.error(f"{unknown[0]} is none of {', '.join(_NAMES)}")
    headers = ["stage", "change", "updates", "counted seconds", "exact val", "difference"]
    lines = []
    with tempfile.TemporaryDirectory() as temporary:
        out = (given.out or Path(temporary)).resolve()
        out.mkdir(parents=True, exist_ok=True)
        for stage, changes in CHANGES.items():
            chosen = [change for change in changes if not given.changes or change in given.changes]
            if chosen:
                lines += rows(stage, chosen, [1] if given.quick else given.seeds, out, quick=given.quick)
    print(f"{machine()}\n\n{tabulate(lines, headers, tablefmt='github', disable_numparse=True)}")
