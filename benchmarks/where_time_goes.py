"""Where the time of a documented v6 run goes.

    python benchmarks/where_time_goes.py

Every part is timed on its own, 300 times, in one process and with the run's number of threads; the medians, times how
often a run needs them, are set beside the wall time of a whole run.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from harness import CORPUS, train_command, wall_seconds
from tabulate import tabulate

from gpt import models
from gpt.config import TrainingConfig
from gpt.corpus import tiny_shakespeare
from gpt.data import TextData
from gpt.device import select_runtime
from gpt.evaluation import batch_loss, exact_loss, mean_loss, tokens_per_pass
from gpt.optimizer import AdamW
from gpt.sampling import sample_text
from gpt.seeding import generator

_ITERATIONS, _EVALUATIONS = 5000, 11
_CONFIG = TrainingConfig(
    max_iters=_ITERATIONS, batch_size=32, grad_accumulation=1, learning_rate=1e-3, schedule="constant", warmup_iters=0,
    min_learning_rate=0.0, weight_decay=0.01, beta1=0.9, beta2=0.999, grad_clip=None, label_smoothing=0.0,
    average_last=0.0, on_nonfinite="stop",
    eval_interval=500, eval_iters=200,
)  # fmt: skip


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.manual_seed(0)
    data = TextData(tiny_shakespeare(CORPUS), block_size=8, train_fraction=0.9)
    target = "gpt.models.v6_pre_norm.PreNormModel"
    model = models.build(target, vocab_size=65, block_size=8, n_embd=32, n_head=4, n_layer=3)
    runtime = select_runtime(torch.device("cpu"), "float32", model)
    optimizer = AdamW(model, _CONFIG)
    batch = data.batch("train", 32, generator(0))

    def backward() -> None:
        batch_loss(model, batch).backward()

    def estimate() -> None:
        mean_loss(model, data.estimation_batches("val", 0, 0, 200, 32, tokens_per_pass(runtime)), "", runtime)

    backward()
    forward_time = _median(lambda: batch_loss(model, batch))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = {
            "start-up: Python, imports, configuration": wall_seconds(train_command("--cfg", "job"), folder),
            "corpus and tokens": _median(
                lambda: TextData(tiny_shakespeare(CORPUS), block_size=8, train_fraction=0.9), 5
            ),
            "batches": _ITERATIONS * _median(lambda: data.batch("train", 32, generator(0, "train", 1))),
            "forward": _ITERATIONS * forward_time,
            "backward": _ITERATIONS * (_median(backward) - forward_time),
            "optimizer": _ITERATIONS * _median(lambda: optimizer.step(1e-3)),
            "estimates": 2 * _EVALUATIONS * _median(estimate, 5),
            "exact loss": _median(lambda: exact_loss(model, data, "val", runtime=runtime), 5),
            "sample": _median(lambda: sample_text(model, data.tokenizer, seed=0), 5),
        }
        whole = wall_seconds(train_command("model=v6", "device=cpu"), folder)
    seconds["the rest: the loop itself, plotting, files"] = whole - sum(seconds.values())
    seconds["a whole run, measured"] = whole
    lines = [[part, f"{value:.2f}", f"{value / whole:.0%}"] for part, value in seconds.items()]
    print(tabulate(lines, ["part", "s", "share"], tablefmt="github", disable_numparse=True))


def _median(work: Callable[[], object], repeats: int = 300) -> float:
    """Seconds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


if __name__ == "__main__":
    main()
