"""Training throughput at v7's size.

    python benchmarks/v7_training.py --nanogpt PATH

The peer is nanoGPT's train.py with v7's hyperparameters: its CPU mode (float32, not compiled) without a GPU, its
defaults (bfloat16, compiled) with one. The peer's figure is the median over its last iterations; ours is the mean over
the same number of iterations, outliers included.

The second row compares the rate of arithmetic in a step's matrix products with that of one large product, measured
right after it: the share of the machine's peak that a step reaches.
"""

import gpt  # noqa: F401  # before torch, as in the scripts: it sets how threads wait

# isort: split
import argparse
import re
import shutil
import statistics
import sys
from pathlib import Path

import torch
from harness import Row, compared, kept, output, parser, seconds_of, table, trained

from gpt.base.installation import TINY_SHAKESPEARE
from gpt.base.runtime import has_fast_bfloat16, keep_freed_memory, select_device

_ITERATIONS, _LAST = (300, 100) if torch.cuda.is_available() else (5, 3)
_SIZE = {"block_size": 256, "n_embd": 384, "n_head": 6, "n_layer": 6}
_QUICK_SIZE = {"block_size": 16, "n_embd": 32, "n_head": 2, "n_layer": 1}


def rows(given: argparse.Namespace) -> list[Row]:
    """Tokens per second in training steps, and their share of the peak."""
    size, batch_size = (_QUICK_SIZE, 4) if given.quick else (_SIZE, 64)
    peaks: list[float] = []
    with kept() as folder:

        def ours() -> float:
            speed = _ours(folder, size, batch_size)
            peaks.append(_peak(512 if given.quick else 8192 if torch.cuda.is_available() else 4096))
            return speed

        if given.nanogpt:
            _prepare(given.nanogpt, folder / "nanogpt")
        theirs = (lambda: _theirs(folder / "nanogpt", size, batch_size)) if given.nanogpt else None
        training = compared(given, "v7 training", "tokens/s", ours, "nanoGPT train.py", theirs)
    reached = [speed * _operations(size) / 1e9 for speed in training.ours]
    return [training, Row("v7's products", "GFLOP/s", reached, "one large product", peaks[-len(reached) :])]


def _operations(size: dict[str, int]) -> int:
    """The operations per token of a step's matrix products, forward and backward."""
    channels, layers = size["n_embd"], size["n_layer"]
    linear = 12 * layers * channels**2 + 65 * channels  # weights, each in a multiplication and an addition
    attention = 2 * layers * channels * size["block_size"]  # queries by keys and weights by values, masked ones too
    return 3 * 2 * (linear + attention)


def _peak(size: int) -> float:
    """GFLOP/s of a square matrix product in the precision that v7 trains in: the best of ten."""
    device = select_device("auto")
    keep_freed_memory(device)  # as in training
    dtype = torch.bfloat16 if has_fast_bfloat16(device) else torch.float32
    a, b = torch.randn(2, size, size, device=device).to(dtype)
    return 2 * size**3 / min(seconds_of(lambda: (a @ b)[0, 0].item()) for _ in range(10)) / 1e9  # waits for a GPU


def _prepare(checkout: Path, folder: Path) -> None:
    """A copy of the checkout with the corpus prepared by its own script."""
    shutil.copytree(checkout, folder, ignore=shutil.ignore_patterns(".git"))
    corpus = folder / "data" / "shakespeare_char"
    shutil.copy(TINY_SHAKESPEARE, corpus / "input.txt")
    output([sys.executable, "prepare.py"], corpus)


def _theirs(checkout: Path, size: dict[str, int], batch_size: int) -> float:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    options = [f"--max_iters={_ITERATIONS}", f"--device={device}", f"--compile={device == 'cuda'}", "--log_interval=1"]
    options += ["--eval_interval=100000", "--eval_iters=1", "--learning_rate=3e-4", "--warmup_iters=0"]
    options += [f"--{name}={value}" for name, value in size.items()] + [f"--batch_size={batch_size}"]
    printed = output([sys.executable, "train.py", "config/train_shakespeare_char.py", *options], checkout)
    milliseconds = [float(time) for time in re.findall(r"^iter \d+: .* time ([\d.]+)ms", printed, re.MULTILINE)]
    return batch_size * size["block_size"] / statistics.median(milliseconds[-_LAST:]) * 1000


def _ours(folder: Path, size: dict[str, int], batch_size: int) -> float:
    before = _ITERATIONS - _LAST
    changes = [f"training.max_iters={_ITERATIONS}", f"training.eval_interval={before}", "training.eval_iters=1"]
    changes += [f"model.{name}={value}" for name, value in size.items()] + [f"training.batch_size={batch_size}"]
    shutil.rmtree(folder / "ours", ignore_errors=True)
    clock = trained(folder / "ours", "model=v7", *changes).clock()  # seconds of steps, evaluations left out
    return _LAST * batch_size * size["block_size"] / (clock[_ITERATIONS] - clock[before])


if __name__ == "__main__":
    given = parser(__doc__, "nanogpt").parse_args()
    print(table(rows(given)))
