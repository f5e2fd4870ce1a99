"""Check that this checkout computes the same losses as another one, bit for bit.

    python benchmarks/same_losses.py                  # the working tree against its last commit
    python benchmarks/same_losses.py e31de28          # or another commit, which is cloned,
    python benchmarks/same_losses.py ../other         # or another checkout, which is only read

Each stage is trained by both sides' train.py, on the CPU and with the same seed. All losses of metrics.jsonl, the exact
loss and the loss on the last training batch must be equal. The exit code is 1 if any differs.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import REPOSITORY, output, parser, train_command
from tabulate import tabulate

from gpt.base.ladder import SMALL

Settings = dict[str, Any]

_COMMON: Settings = {"seed": 7, "device": "cpu", "training.learning_rate": 1e-3}
_SMALL_V7: Settings = {"model.block_size": 64, "model.n_embd": 64, "model.n_head": 4, "model.n_layer": 2}
# Everything that conf/model/transformer.yaml and an experiment may set otherwise on the other side.
_TRANSFORMER: Settings = {
    "model.block_size": 64, "model.n_embd": 32, "model.n_head": 4, "model.n_layer": 2, "model.n_hidden": 48,
    "model.dropout": 0.1, "model.norm": "pre", "model.shared_embedding": True,
    "data": "reverse", "data.length": 8, "data.size": 2000, "data.vocab_size": 100,
    "training.learning_rate": 3e-3, "training.batch_size": 512, "training.grad_clip": 1.0,
    "training.label_smoothing": 0.1, "training.average_last": 0.5,
    "schedule": "inverse_sqrt", "schedule.warmup_iters": 20,
    "optimizer.weight_decay": 0.01, "optimizer.beta1": 0.9, "optimizer.beta2": 0.98,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A training that both sides can run."""

    stage: str
    variant: str = ""
    settings: Settings = field(default_factory=dict)
    max_iters: int | None = None  # where it is slow: at most so many iterations

    @property
    def name(self) -> str:
        """The stage and the special settings of the training."""
        return f"{self.stage}, {self.variant}" if self.variant else self.stage


_TEXT: Settings = {"training.eval_iters": 10}
CASES = [
    *(Case(stage, "", _TEXT) for stage in SMALL),
    Case("v6", "accumulated", {**_TEXT, "compile": False, "training.grad_accumulation": 2}),
    Case(
        "v6",
        "cosine, warm-up, clipped",
        {
            **_TEXT,
            "schedule": "cosine", "schedule.warmup_iters": 20, "schedule.final": 0.5, "training.grad_clip": 0.5,
            "optimizer.weight_decay": 0.1, "optimizer.beta1": 0.8, "optimizer.beta2": 0.95,
        },
    ),
    Case("v7", "small", {**_TEXT, **_SMALL_V7, "training.batch_size": 16}),
    Case("v7", "own size", {"training.eval_iters": 1}, max_iters=3),
    Case("transformer", "pre-norm", _TRANSFORMER),
    Case("transformer", "post-norm", {**_TRANSFORMER, "model.norm": "post", "model.shared_embedding": False}),
]  # fmt: skip


@dataclass(frozen=True)
class Losses:
    """The losses of a run, each under a name such as "val at iteration 100"."""

    values: dict[str, float]

    def first_difference(self, other: "Losses") -> str:
        """The first loss that differs, with both values to the last digit; empty if there is none."""
        for name in [*self.values, *(name for name in other.values if name not in self.values)]:
            here, there = self.values.get(name), other.values.get(name)
            if here is None or there is None or here.hex() != there.hex():
                return f"{name}: {here} here, {there} there"
        return ""


def main() -> int:
    """Print the table, and return the exit code."""
    options = parser(__doc__)
    options.add_argument("other", nargs="?", default="HEAD", help="a checkout, or a commit of this one (default HEAD)")
    options.add_argument("--iterations", type=int, default=200, help="of each training (default 200)")
    options.add_argument("--only", nargs="+", metavar="STAGE", help="these stages, such as v1 transformer")
    given = options.parse_args()
    iterations = 2 if given.quick else given.iterations
    cases = [case for case in CASES if given.only is None or case.stage in given.only]
    if not cases:
        options.error(f"--only: the stages are {', '.join(dict.fromkeys(case.stage for case in CASES))}")
    with tempfile.TemporaryDirectory() as name:
        other = _checkout(given.other, Path(name))
        rows = []
        for case in cases:
            here, there = (losses(case, checkout, iterations) for checkout in (REPOSITORY, other))
            rows.append([case.name, len(here.values), here.first_difference(there) or "equal"])
            print("  ".join(map(str, rows[-1])), file=sys.stderr)  # it takes minutes: what is known already
    print(tabulate(rows, ["training", "losses", f"compared with {given.other}"], tablefmt="github"))
    return int(any(row[-1] != "equal" for row in rows))


def losses(case: Case, checkout: Path, iterations: int) -> Losses:
    """Train with a checkout, in a separate folder."""
    count = min(iterations, case.max_iters or iterations)
    settings = {"training.max_iters": count, "training.eval_interval": max(1, count // 4), **_COMMON, **case.settings}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        changes = [f"{key}={value}" for key, value in settings.items()]
        output(train_command(f"model={case.stage}", *changes, "runs=runs", checkout=checkout), folder, checkout)
        (path,) = folder.rglob("summary.json")
        summary = json.loads(path.read_text())
        rows = [json.loads(line) for line in (path.parent / "metrics.jsonl").read_text().splitlines()]
        evaluations = [row for row in rows if "val" in row]
    values = {f"{split} at iteration {e['iteration']}": e[split] for e in evaluations for split in ("train", "val")}
    return Losses(values | {"exact": summary["exact"]["val"], "last batch": summary["last_batch"]})


def _checkout(other: str, folder: Path) -> Path:
    """The checkout with this path, or a clone of this repository at this commit."""
    if Path(other).is_dir():
        return Path(other).resolve()
    clone = folder / "checkout"
    git = ["git", "-c", "advice.detachedHead=false"]
    try:
        subprocess.run([*git, "clone", "--quiet", "--no-checkout", str(REPOSITORY), str(clone)], check=True)
        subprocess.run([*git, "-C", str(clone), "checkout", "--quiet", other], check=True)
    except subprocess.CalledProcessError:
        raise SystemExit(f"{other} is neither a checkout nor a commit") from None
    return clone


if __name__ == "__main__":
    sys.exit(main())
