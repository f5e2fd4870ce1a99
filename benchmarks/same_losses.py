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
from pathlib import Path
from typing import Any

from harness import REPOSITORY, kept, markdown, output, parser, train_command

from gpt.base.ladder import SMALL

_COMMON = ["seed=7", "device=cpu", "training.learning_rate=1e-3"]
_TEXT = "training.eval_iters=10"
# Everything that conf/model/transformer.yaml and an experiment may set otherwise on the other side.
_TRANSFORMER = (
    "model.block_size=64 model.n_embd=32 model.n_head=4 model.n_layer=2 model.n_hidden=48 model.dropout=0.1 "
    "data=reverse data.length=8 data.size=2000 data.vocab_size=100 training.learning_rate=3e-3 "
    "training.batch_size=512 training.grad_clip=1.0 training.label_smoothing=0.1 training.average_last=0.5 "
    "schedule=inverse_sqrt schedule.warmup_iters=20 optimizer.weight_decay=0.01 optimizer.beta1=0.9 "
    "optimizer.beta2=0.98 "
)
# The stages, each with the settings of its training.
_CASES = {
    **dict.fromkeys(SMALL, _TEXT),
    "v6, accumulated": f"{_TEXT} compile=false training.grad_accumulation=2",
    "v6, cosine, warm-up, clipped": (
        f"{_TEXT} schedule=cosine schedule.warmup_iters=20 schedule.final=0.5 training.grad_clip=0.5 "
        "optimizer.weight_decay=0.1 optimizer.beta1=0.8 optimizer.beta2=0.95"
    ),
    "v7, small": f"{_TEXT} model.block_size=64 model.n_embd=64 model.n_head=4 model.n_layer=2 training.batch_size=16",
    "v7, own size": "training.eval_iters=1",
    "transformer, pre-norm": f"{_TRANSFORMER} model.norm=pre model.shared_embedding=true",
    "transformer, post-norm": f"{_TRANSFORMER} model.norm=post model.shared_embedding=false",
}


def main() -> int:
    """Print the table, and return the exit code."""
    options = parser(__doc__)
    options.add_argument("other", nargs="?", default="HEAD", help="a checkout, or a commit of this one (default HEAD)")
    options.add_argument("--iterations", type=int, default=200, help="of each training (default 200)")
    options.add_argument("--only", help="these stages, such as v1,transformer")
    given = options.parse_args()
    rows, iterations = [], 20 if given.quick else given.iterations  # as long as a warm-up among the settings
    with kept() as folder:
        there = _checkout(given.other, folder)
        for name, settings in _CASES.items():
            if given.only is None or name.partition(",")[0] in given.only.split(","):
                count = min(iterations, 3) if name == "v7, own size" else iterations  # a step of it takes seconds
                ours, theirs = (_trained(name, settings, checkout, count) for checkout in (REPOSITORY, there))
                rows.append([name, f"{len(ours)}", first_difference(ours, theirs) or "equal"])
                print(*rows[-1], sep="  ", file=sys.stderr)  # it takes minutes: what is known already
    print(markdown(["training", "losses", f"compared with {given.other}"], rows))
    return int(any(row[-1] != "equal" for row in rows))


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


def _trained(name: str, settings: str, checkout: Path, iterations: int) -> dict[str, float]:
    """The losses of a training with a checkout, in a separate folder."""
    length = [f"training.max_iters={iterations}", f"training.eval_interval={max(1, iterations // 4)}", "runs=runs"]
    with kept() as folder:
        stage = f"model={name.partition(',')[0]}"
        output(train_command(stage, *_COMMON, *settings.split(), *length, checkout=checkout), folder, checkout)
        (path,) = folder.rglob("summary.json")
        return losses(path.parent)


def losses(run: Path) -> dict[str, float]:
    """Those of a run, of any version, each under a name such as "val at iteration 100"."""
    summary = json.loads((run / "summary.json").read_text())
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found = {
        f"{split} at iteration {row['iteration']}": row[split]
        for row in rows
        if "val" in row
        for split in ("train", "val")
    }
    found |= {"exact": summary["exact"], "last batch": summary["last_batch"]}
    return {name: _nats(loss) for name, loss in found.items()}


def _nats(loss: Any) -> float:
    """Of a loss as runs have recorded it: a number, or a record of one, at first of both splits."""
    if not isinstance(loss, dict):
        return float(loss)
    return float(loss["nats"] if "nats" in loss else loss["val"])


def first_difference(ours: dict[str, float], theirs: dict[str, float]) -> str:
    """The first loss that differs, with both values to the last digit; empty if there is none."""
    for name in {**ours, **theirs}:
        here, there = ours.get(name), theirs.get(name)
        if here is None or there is None or here.hex() != there.hex():
            return f"{name}: {here} here, {there} there"
    return ""


if __name__ == "__main__":
    sys.exit(main())
