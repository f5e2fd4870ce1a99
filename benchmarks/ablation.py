"""What each idea of v8 is worth at its own size and length, and what v9's counts are worth: the loss without them.

    python benchmarks/ablation.py                          # all of them: several hours on two cores
    python benchmarks/ablation.py rotary counts            # some of them

v8 is trained as in record 03, v9 as in record 04, and again without one idea, for the same number of updates. The ideas
of v8's network are sibling stages (gpt/models/v8_without.py). In v9, either the counts or the network is left out;
counts alone are v9 after an update with learning rates of zero. `--out` keeps the run folders; finished runs in it are
not trained again.
"""

import statistics
import sys
import tempfile
from pathlib import Path

from harness import QUICK_TRAINING, machine, output, parser, seeds, train_command
from tabulate import tabulate

from gpt.runs.folder import RunFolder

_NETWORK = ["rotary", "token_shift", "rms_norm", "qk_norm", "squared_relu", "zero_init", "soft_cap"]
# By stage: how it is trained, and what else is given to leave out each idea.
WHOLE = {"v8": "experiment=records/03_v8", "v9": "experiment=records/04_counts"}
LEFT_OUT = {
    "v8": {
        **{idea: [f"model=v8_without_{idea}"] for idea in _NETWORK},
        "muon": ["optimizer=adamw", "training.learning_rate=3e-3"],
        "linear schedule": ["schedule=constant"],
    },
    "v9": {
        "counts": ["model=v8", "optimizer=muon", "training.max_iters=120"],
        "network": ["optimizer=adamw", "training.learning_rate=0.0", "training.max_iters=1"],
    },
}
IDEAS = [idea for ideas in LEFT_OUT.values() for idea in ideas]
_ONLY_EXACT = ["training.eval_iters=1", "training.eval_interval=100000"]  # estimates would only take time here


def rows(stage: str, ideas: list[str], seeds: list[int], out: Path, *, quick: bool) -> list[list[str]]:
    """One row for the whole stage, and one for each idea that is left out."""
    common = [WHOLE[stage], *_ONLY_EXACT, *(QUICK_TRAINING if quick else [])]
    whole = [_trained(out / f"{stage}_seed{seed}", [*common, f"seed={seed}"]) for seed in seeds]
    lines = [[stage, "nothing", *_cells(whole), "-"]]
    for idea in ideas:
        without = [*common, *LEFT_OUT[stage][idea], *(QUICK_TRAINING if quick else [])]
        folder = f"{stage}_without_{idea.replace(' ', '_')}"
        runs = [_trained(out / f"{folder}_seed{seed}", [*without, f"seed={seed}"]) for seed in seeds]
        worse = statistics.mean(_losses(runs)) - statistics.mean(_losses(whole))
        lines.append([stage, idea, *_cells(runs), f"{worse:+.4f}"])
        print(*lines[-1], sep="\t", file=sys.stderr)
    return lines


def _trained(folder: Path, arguments: list[str]) -> RunFolder:
    run = RunFolder(folder)
    if not run.is_finished():
        output(train_command(*arguments, f"hydra.run.dir={folder}", "resume=auto"), folder.parent)
    return run


def _losses(runs: list[RunFolder]) -> list[float]:
    return [run.summary().exact.val for run in runs]


def _cells(runs: list[RunFolder]) -> list[str]:
    losses, seconds = _losses(runs), [run.summary().counted_seconds or 0.0 for run in runs]
    deviation = f" ± {statistics.stdev(losses):.4f}" if len(losses) > 1 else ""
    iterations = runs[0].summary().iterations
    return [f"{iterations}", f"{statistics.mean(seconds):.1f}", f"{statistics.mean(losses):.4f}{deviation}"]


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("ideas", nargs="*", metavar="IDEA", help=f"of {', '.join(IDEAS)} (default: all)")
    options.add_argument("--seeds", type=seeds, default=[1, 2, 3], help="the seeds of each (default 1,2,3)")
    options.add_argument("--out", type=Path, help="where to keep the run folders")
    given = options.parse_args()
    if unknown := [idea for idea in given.ideas if idea not in IDEAS]:
        options.error(f"{unknown[0]} is none of {', '.join(IDEAS)}")
    headers = ["stage", "left out", "updates", "counted seconds", "exact val", "worse by"]
    lines = []
    with tempfile.TemporaryDirectory() as temporary:
        out = (given.out or Path(temporary)).resolve()
        out.mkdir(parents=True, exist_ok=True)
        for stage, ideas in LEFT_OUT.items():
            chosen = [idea for idea in ideas if not given.ideas or idea in given.ideas]
            if chosen:
                lines += rows(stage, chosen, [1] if given.quick else given.seeds, out, quick=given.quick)
    print(f"{machine()}\n\n{tabulate(lines, headers, tablefmt='github', disable_numparse=True)}")
