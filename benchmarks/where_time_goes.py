"""Where the time of a small stage's documented run goes, and where that of generation at v7's size.

    python benchmarks/where_time_goes.py v1
    python benchmarks/where_time_goes.py generation
    python benchmarks/where_time_goes.py generation64

Each part of a run is timed on its own, in one process and with the run's number of threads, and multiplied by how often
a run needs it. The sum is compared with the wall time of an entire run. Of generation, a profile shows the operators;
the profiler itself adds microseconds to each call. Recording is timed on its own.
"""

import gpt  # noqa: F401  # before torch, as in the scripts: it sets how threads wait

# isort: split
import statistics
import sys
from collections.abc import Callable

import torch
from harness import QUICK_TRAINING, kept, markdown, parser, seconds_of, train_command, wall_seconds

from gpt import tasks
from gpt.base.ladder import SMALL
from gpt.config.composing import compose
from gpt.config.reading import read
from gpt.models import checked
from gpt.models.kv_cache import KVCache
from gpt.models.v7_dropout import GPT
from gpt.session.build import build_trainer
from gpt.session.start import New
from gpt.session.train import exact_loss_of
from gpt.tasks.decoding.packing import packed
from gpt.tasks.decoding.recorded_step import traced
from gpt.tasks.decoding.sampling import generate
from gpt.training.evaluation import estimation_targets, mean_loss
from gpt.training.gradients import gradient_of
from gpt.training.processes import ALONE


def main() -> None:
    """Print the table of the given work."""
    texts = {"generation": 1, "generation64": 64}
    works, options = [*SMALL, *texts], parser(__doc__)
    options.add_argument("work", nargs="?", choices=works, default="v6", help=f"of {', '.join(works)} (default v6)")
    given = options.parse_args()
    if given.work in texts:
        number = texts[given.work]
        print(_of_generation(number, 4 if given.quick else 128 if number == 1 else 32))
    else:
        print(_of_a_run(given.work, given.quick))


def _of_generation(texts: int, count: int) -> str:
    """The costliest operators of `count` steps, a character of each text, after as many others.

    From 25 on, a recorded pass is repeated.
    """
    model = packed(checked(GPT(65, 256, 384, 6, 6, 0.2)), torch.float32)
    characters = generate(model, torch.tensor([0]), tokens=2 * count, num_samples=texts, seed=1)
    for _ in range(count):
        next(characters).tolist()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
        for ids in characters:
            ids.tolist()
    found = sorted(profiled.key_averages(), key=lambda each: -each.self_cpu_time_total)
    total = sum(each.self_cpu_time_total for each in found)
    rows = [
        [
            each.key,
            f"{each.count / count:.1f}",
            f"{each.self_cpu_time_total / count:.0f}",
            f"{each.self_cpu_time_total / total:.0%}",
        ]
        for each in found[:10]
    ]
    rows.append(["all", f"{sum(each.count for each in found) / count:.1f}", f"{total / count:.0f}", "100%"])
    profile = markdown(["operator", "calls per step", "microseconds per step", "share"], rows)
    cache, idx = KVCache(256), torch.zeros(texts, 1, dtype=torch.int64)
    with torch.inference_mode():
        with cache.active():
            model(idx)
        recording = _median(lambda: traced(model, cache, idx), 5)
    return f"{profile}\n\nrecording the pass over a character, once a text: {recording * 1000:.0f} ms"


def _of_a_run(stage: str, quick: bool) -> str:
    often, seldom = (2, 1) if quick else (300, 5)
    few = ["training.eval_iters=1"] if quick else []
    command = read("train", [f"model={stage}", "device=cpu", *few])
    trainer = build_trainer(New(compose(command)), command, torch.device("cpu"), ALONE)
    model, optimizer, runtime, training = trainer.model, trainer.optimizer, trainer.runtime, trainer.settings
    evaluations = 1 + training.max_iters // int(training.eval_interval)
    batch, no_skip, gradient = trainer.batch(0), torch.zeros(()), gradient_of(trainer)

    def tokenized() -> None:
        task, corpus = tasks.load(trainer.config.data, model)
        task.data(corpus, model, runtime.device)

    def backward() -> None:
        optimizer.zero_grad()
        gradient(model, batch, 1.0)

    def estimate() -> None:
        mean_loss(model, estimation_targets(trainer, "val"), "", runtime)

    def step() -> None:
        optimizer.step(optimizer.peaks, no_skip)

    with runtime.settings(), kept() as folder:
        for _ in range(3):  # the second is recorded
            backward()
        seconds = {
            "Python and configuration": wall_seconds(train_command("--cfg", "job"), folder),
            "importing torch": wall_seconds([sys.executable, "-c", "import torch"], folder),
            "corpus and tokens": _median(tokenized, seldom),
            "batches": training.max_iters * _median(lambda: trainer.batch(1), often),
            "loss and gradient": training.max_iters * _median(backward, often),
            "optimizer": training.max_iters * _median(step, often),
            "estimates": 2 * evaluations * _median(estimate, seldom),
            "exact loss": _median(lambda: exact_loss_of(trainer, "last"), seldom),
            "sample": _median(lambda: trainer.task.sample(model, trainer.corpus, seed=0), seldom),
        }
        short = QUICK_TRAINING if quick else []
        whole = wall_seconds(train_command(f"model={stage}", "device=cpu", *short), folder)
    seconds["the rest: the loop itself, plotting, files"] = whole - sum(seconds.values())
    seconds["the entire run, measured"] = whole
    lines = [[part, f"{value:.2f}", f"{value / whole:.0%}"] for part, value in seconds.items()]
    return markdown(["part", "s", "share"], lines)


def _median(work: Callable[[], object], repeats: int) -> float:
    return statistics.median(seconds_of(work) for _ in range(repeats))


if __name__ == "__main__":
    main()
