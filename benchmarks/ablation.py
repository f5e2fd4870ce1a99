"""What each idea of the CPU record is worth: the loss without it, after as many seconds.

    python benchmarks/ablation.py                          # all of them: a quarter of an hour
    python benchmarks/ablation.py rotary short_window      # some of them

The record is trained first. Then each idea is left out of runs that get as many iterations as fit into the record's
seconds; short runs with and without it, in turn, tell how long an iteration takes. Nothing else may run meanwhile.
"""

import statistics
import sys
import tempfile
from pathlib import Path

from harness import QUICK_TRAINING, machine, output, parser, seeds, train_command
from tabulate import tabulate

from gpt.runs.folder import RunFolder

_SWITCHES = ["rotary", "rms_norm", "qk_norm", "squared_relu", "zero_init", "embedding_mix", "token_shift"]
LEFT_OUT = {
    "ngrams": ["model.ngrams=0", "model.bigram=true"],
    "muon": ["optimizer=adamw", "~optimizer.matrix_weight_decay", "training.learning_rate=3e-3"],
    "linear schedule": ["schedule=constant"],
    "short_window": ["training.short_window=null"],
    "soft_cap": ["model.soft_cap=0"],
    "multi_token": ["model.multi_token=0"],
    **{switch: [f"model.{switch}=false"] for switch in _SWITCHES},
}
_PROBE, _PAIRS = 60, 3  # iterations of a short run, and how many are compared
_ONLY_EXACT = ["training.eval_iters=1", "training.eval_interval=100000"]  # estimates would only take time here


def rows(ideas: list[str], seeds: list[int], *, quick: bool) -> list[list[str]]:
    """A line for the record, and one for each idea that is left out of it."""
    common = ["experiment=speedrun_cpu", *_ONLY_EXACT, *(QUICK_TRAINING if quick else [])]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record = [_trained(folder / f"record_{seed}", [*common, f"seed={seed}"]) for seed in seeds]
        lines = [["nothing", *_cells(record), "-"]]
        for idea in ideas:
            without = [*common, *LEFT_OUT[idea]]
            short = _lasting(4 if quick else _PROBE, record[0])
            speeds = [
                _speed(folder / f"{idea}_{pair}_without", [*without, *short])
                / _speed(folder / f"{idea}_{pair}_with", [*common, *short])
                for pair in range(1 if quick else _PAIRS)
            ]
            iters = round(record[0].summary().iterations * statistics.median(speeds))
            without += _lasting(4 if quick else iters, record[0])
            runs = [_trained(folder / f"{idea}_{seed}", [*without, f"seed={seed}"]) for seed in seeds]
            worse = statistics.mean(_losses(runs)) - statistics.mean(_losses(record))
            lines.append([idea, *_cells(runs), f"{worse:+.4f}"])
            print(*lines[-1], sep="\t", file=sys.stderr)
    return lines


def _trained(folder: Path, arguments: list[str]) -> RunFolder:
    output(train_command(*arguments, f"hydra.run.dir={folder}", "resume=null"), folder.parent)
    return RunFolder(folder)


def _lasting(iters: int, record: RunFolder) -> list[str]:
    """So many iterations, with short windows in the same part of them as in the record."""
    training = record.config().training
    short_iters = round(iters * training.short_iters / training.max_iters)
    return [f"training.max_iters={iters}", f"training.short_iters={short_iters}"]


def _speed(folder: Path, arguments: list[str]) -> float:
    """Iterations a second."""
    run = _trained(folder, arguments)
    iterations = run.summary().iterations
    return iterations / run.clock()[iterations]


def _losses(runs: list[RunFolder]) -> list[float]:
    return [run.summary().exact.val for run in runs]


def _cells(runs: list[RunFolder]) -> list[str]:
    losses, seconds = _losses(runs), [run.summary().counted_seconds or 0.0 for run in runs]
    deviation = f" ± {statistics.stdev(losses):.4f}" if len(losses) > 1 else ""
    iterations = runs[0].summary().iterations
    return [f"{iterations}", f"{statistics.mean(seconds):.1f}", f"{statistics.mean(losses):.4f}{deviation}"]


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("ideas", nargs="*", metavar="IDEA", help=f"of {', '.join(LEFT_OUT)} (default: all)")
    options.add_argument("--seeds", type=seeds, default=[1, 2, 3], help="the seeds of each (default 1,2,3)")
    given = options.parse_args()
    if unknown := [idea for idea in given.ideas if idea not in LEFT_OUT]:
        options.error(f"{unknown[0]} is none of {', '.join(LEFT_OUT)}")
    headers = ["left out", "iterations", "counted seconds", "exact val", "worse by"]
    lines = rows(given.ideas or list(LEFT_OUT), [1] if given.quick else given.seeds, quick=given.quick)
    print(f"{machine()}\n\n{tabulate(lines, headers, tablefmt='github', disable_numparse=True)}")
