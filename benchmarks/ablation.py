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
from pathlib import Path

from harness import QUICK_TRAINING, arguments, kept, machine, markdown, seeds, trained

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


def rows(stage: str, changes: list[str], seeds: list[int], out: Path, short: list[str]) -> list[list[str]]:
    """A line for the stage itself, and one for each change."""
    lines: list[list[str]] = []
    whole = 0.0
    for change in ["", *changes]:
        settings = [WHOLE[stage], *_ONLY_EXACT, *CHANGES[stage].get(change, []), *short]
        name = "_".join(filter(None, [stage, change]))
        summaries = [trained(out / f"{name}_seed{seed}", *settings, f"seed={seed}").summary() for seed in seeds]
        losses = [summary.exact.nats for summary in summaries]
        seconds = statistics.mean(summary.counted_seconds or 0.0 for summary in summaries)
        mean, deviation = statistics.mean(losses), f" ± {statistics.stdev(losses):.4f}" if len(losses) > 1 else ""
        whole = whole if change else mean
        cells = [f"{summaries[0].iterations}", f"{seconds:.1f}", f"{mean:.4f}{deviation}"]
        lines.append([stage, change.replace("_", " "), *cells, f"{mean - whole:+.4f}" if change else ""])
        print(*lines[-1], sep="\t", file=sys.stderr)
    return lines


if __name__ == "__main__":
    out_help, seeds_help = "where to keep the run folders", "the seeds of each"
    given = arguments(__doc__, names=_NAMES, out=(Path, None, out_help), seeds=(seeds, [1, 2, 3], seeds_help))
    chosen = {stage: [change for change in changes if change in given.names] for stage, changes in CHANGES.items()}
    of_each, short = ([1], QUICK_TRAINING) if given.quick else (given.seeds, [])
    with kept(given.out) as out:
        lines = [line for stage in chosen if chosen[stage] for line in rows(stage, chosen[stage], of_each, out, short)]
    headers = ["stage", "change", "updates", "counted seconds", "exact val", "difference"]
    print(f"{machine()}\n\n{markdown(headers, lines)}")
