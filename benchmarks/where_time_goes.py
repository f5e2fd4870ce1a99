"""Where the time of a documented v6 run goes.

    python benchmarks/where_time_goes.py

Each part is timed on its own, in one process and with the run's number of threads, and multiplied by how often a run
needs it. The sum is compared with the wall time of an entire run.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from harness import CORPUS, QUICK_TRAINING, parser, train_command, wall_seconds
from tabulate import tabulate

from gpt.base.runtime import select_runtime
from gpt.base.seeding import generator
from gpt.data.characters import CharTokenizer
from gpt.data.corpora import shakespeare
from gpt.data.text import TextData
from gpt.models.v6_pre_norm import GPT
from gpt.tasks.decoding.sampling import sample_text
from gpt.training.evaluation import exact_loss, mean_loss, tokens_per_pass
from gpt.training.objectives import batch_loss
from gpt.training.optimizers import AdamW

_ITERATIONS, _EVALUATIONS = 5000, 11


def main() -> None:
    """Print the table."""
    is_quick = parser(__doc__).parse_args().quick
    often, seldom = (2, 1) if is_quick else (300, 5)
    eval_iters = 1 if is_quick else 200
    torch.manual_seed(0)
    tokenizer, data = _corpus()
    model = GPT(vocab_size=len(tokenizer), block_size=8, n_embd=32, n_head=4, n_layer=3)
    runtime = select_runtime(torch.device("cpu"), "float32", model)
    optimizer = AdamW(model, 1e-3, weight_decay=0.01, beta1=0.9, beta2=0.999)
    batch, no_skip = data.batch("train", 32, generator(0)), torch.zeros(())

    def backward() -> None:
        batch_loss(model, batch).backward()

    def estimate() -> None:
        mean_loss(
            model, data.estimation_batches("val", 0, 0, eval_iters, 32, tokens_per_pass(runtime, model)), "", runtime
        )

    backward()
    forward_time = _median(lambda: batch_loss(model, batch), often)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = {
            "Python and configuration": wall_seconds(train_command("--cfg", "job"), folder),
            "importing torch": wall_seconds([sys.executable, "-c", "import torch"], folder),
            "corpus and tokens": _median(_corpus, seldom),
            "batches": _ITERATIONS * _median(lambda: data.training_batch(0, 1, 32), often),
            "forward": _ITERATIONS * forward_time,
            "backward": _ITERATIONS * (_median(backward, often) - forward_time),
            "optimizer": _ITERATIONS * _median(lambda: optimizer.step({"all": 1e-3}, no_skip), often),
            "estimates": 2 * _EVALUATIONS * _median(estimate, seldom),
            "exact loss": _median(lambda: exact_loss(model, data, "val", runtime=runtime), seldom),
            "sample": _median(lambda: sample_text(model, tokenizer, seed=0), seldom),
        }
        whole = wall_seconds(train_command("model=v6", "device=cpu", *(QUICK_TRAINING if is_quick else [])), folder)
    seconds["the rest: the loop itself, plotting, files"] = whole - sum(seconds.values())
    seconds["the entire run, measured"] = whole
    lines = [[part, f"{value:.2f}", f"{value / whole:.0%}"] for part, value in seconds.items()]
    print(tabulate(lines, ["part", "s", "share"], tablefmt="github", disable_numparse=True))


def _corpus() -> tuple[CharTokenizer, TextData]:
    corpus = shakespeare(str(CORPUS), train_fraction=0.9)
    tokenizer = CharTokenizer(corpus.train + corpus.val)
    return tokenizer, TextData(corpus, tokenizer, block_size=8)


def _median(work: Callable[[], object], repeats: int) -> float:
    """Seconds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


if __name__ == "__main__":
    main()
