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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import REPOSITORY, arguments, kept, markdown, output, train_command

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


_TEXT: Settings = {"training.eval_iters": 10}
# The stages, with the special settings of the training, and at most how many iterations where it is slow.
CASES: dict[str, Settings] = {
    **dict.fromkeys(SMALL, _TEXT),
    "v6, accumulated": {**_TEXT, "compile": False, "training.grad_accumulation": 2},
    "v6, cosine, warm-up, clipped": {
        **_TEXT,
        "schedule": "cosine", "schedule.warmup_iters": 20, "schedule.final": 0.5, "training.grad_clip": 0.5,
        "optimizer.weight_decay": 0.1, "optimizer.beta1": 0.8, "optimizer.beta2": 0.95,
    },
    "v7, small": {**_TEXT, **_SMALL_V7, "training.batch_size": 16},
    "v7, own size": {"training.eval_iters": 1, "training.max_iters": 3},
    "transformer, pre-norm": _TRANSFORMER,
    "transformer, post-norm": {**_TRANSFORMER, "model.norm": "post", "model.shared_embedding": False},
}  # fmt: skip


@dataclass(frozen=True)
class Losses:
    """The losses of a run, each under a name such as "val at iteration 100"."""

    values: dict[str, float]

    @classmethod
    def of(cls, run: Path) -> "Losses":
        """Those of a run, of any version."""
        summary = json.loads((run / "summary.json").read_text())
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        losses = {f"{split} at iteration {row['iteration']}": row[split]
                  for row in rows if "val" in row for split in ("train", "val")}  # fmt: skip
        losses |= {"exact": summary["exact"], "last batch": summary["last_batch"]}
        return cls({name: _nats(loss) for name, loss in losses.items()})

    def first_difference(self, other: "Losses") -> str:
        """The first loss that differs, with both values to the last digit; empty if there is none."""
        for name in [*self.values, *(name for name in other.values if name not in self.values)]:
            here, there = self.values.get(name), other.values.get(name)
            if here is None or there is None or here.hex() != there.hex():
                return f"{name}: {here} here, {there} there"
        return ""


def _nats(loss: Any) -> float:
    """Of a loss as runs have recorded it: a number, or a record of one, at first of both splits."""
    if not isinstance(loss, dict):
        return float(loss)
    return float(loss["nats"] if "nats" in loss else loss["val"])


def main() -> int:
    """Print the table, and return the exit code."""
    other_help = "a checkout, or a commit of this one (default HEAD)"
    given = arguments(
        __doc__, first=("other", "HEAD", other_help), iterations=(int, 200, "of each training"),
        only=(str, "", "these stages, such as v1,transformer"),
    )  # fmt: skip
    iterations, only, other = 2 if given.quick else given.iterations, given.only.split(","), given.other
    cases = {name: settings for name, settings in CASES.items() if not given.only or name.partition(",")[0] in only}
    with kept(None) as folder:
        there = _checkout(other, folder)
        rows = []
        for name, settings in cases.items():
            ours, theirs = (losses(name, settings, checkout, iterations) for checkout in (REPOSITORY, there))
            rows.append([name, f"{len(ours.values)}", ours.first_difference(theirs) or "equal"])
            print("  ".join(rows[-1]), file=sys.stderr)  # it takes minutes: what is known already
    print(markdown(["training", "losses", f"compared with {other}"], rows))
    return int(any(row[-1] != "equal" for row in rows))


def losses(name: str, settings: Settings, checkout: Path, iterations: int) -> Losses:
    """Train with a checkout, in a separate folder."""
    count = min(iterations, settings.get("training.max_iters", iterations))
    changed = _COMMON | settings | {"training.max_iters": count, "training.eval_interval": max(1, count // 4)}
    with kept(None) as folder:
        changes = [f"{key}={value}" for key, value in changed.items()]
        stage = name.partition(",")[0]
        output(train_command(f"model={stage}", *changes, "runs=runs", checkout=checkout), folder, checkout)
        (path,) = folder.rglob("summary.json")
        return Losses.of(path.parent)


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
