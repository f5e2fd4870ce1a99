"""Where the time of a small stage's documented run goes, and where that of generation at v7's size.

    python benchmarks/where_time_goes.py v1
    python benchmarks/where_time_goes.py generation

Each part of a run is timed on its own, in one process and with the run's number of threads, and multiplied by how often
a run needs it. The sum is compared with the wall time of an entire run. Of generation, a profile shows the operators;
the profiler itself adds microseconds to each call. Recording is timed on its own.
"""

import gpt  # noqa: F401  # before torch, as in the scripts: it sets how threads wait

# isort: split
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from harness import QUICK_TRAINING, arguments, documented, kept, markdown, output, train_command, wall_seconds
from omegaconf import OmegaConf
from torch import nn

from gpt import models
from gpt.base.choices import Choice
from gpt.base.runtime import select_runtime
from gpt.base.seeding import generator
from gpt.data.corpora import shakespeare
from gpt.data.text import TextData
from gpt.data.tokenizers.characters import CharTokenizer
from gpt.models.kv_cache import KVCache
from gpt.models.v7_dropout import GPT
from gpt.tasks.decoding.packing import packed
from gpt.tasks.decoding.recorded_step import traced
from gpt.tasks.decoding.sampling import generate, sample_text
from gpt.training.evaluation import exact_loss, mean_loss, tokens_per_pass
from gpt.training.gradient_tape import RecordedGradient
from gpt.training.objectives import Autograd, Objective
from gpt.training.optimizers import AdamW

_STAGES = ("v1", "v2", "v3", "v3_ffn", "v4", "v5", "v6")


def main() -> None:
    """Print the table of the given work."""
    given = arguments(__doc__, first=("work", "v6", f"of {', '.join([*_STAGES, 'generation'])} (default v6)"))
    if given.work != "generation":
        print(_of_a_run(given.work, is_quick=given.quick))
        return
    # In a process that imports `gpt` before PyTorch, as the scripts do: it sets how threads wait.
    count = 4 if given.quick else 128
    code = f"import gpt, sys; sys.path.insert(0, sys.argv[1]); import where_time_goes as w; print(w.operators({count}))"
    print(output([sys.executable, "-c", code, str(Path(__file__).parent)], Path.cwd()).strip())


def operators(count: int) -> str:
    """The costliest operators of `count` characters, after as many others: with 128, a recorded pass is repeated."""
    model = packed(GPT(65, 256, 384, 6, 6, 0.2), torch.float32)
    characters = generate(model, torch.tensor([0]), tokens=2 * count, num_samples=1, seed=1)
    for _ in range(count):
        next(characters).tolist()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
        for ids in characters:
            ids.tolist()
    found = sorted(profiled.key_averages(), key=lambda each: -each.self_cpu_time_total)
    total = sum(each.self_cpu_time_total for each in found)
    rows = [
        [each.key, f"{each.count / count:.1f}", f"{each.self_cpu_time_total / count:.0f}",
         f"{each.self_cpu_time_total / total:.0%}"] for each in found[:10]
    ]  # fmt: skip
    rows.append(["all", f"{sum(each.count for each in found) / count:.1f}", f"{total / count:.0f}", "100%"])
    profile = markdown(["operator", "calls per character", "microseconds per character", "share"], rows)
    return f"{profile}\n\nrecording the pass over a character, once a text: {_recording(model) * 1000:.0f} ms"


@torch.inference_mode()
def _recording(model: nn.Module) -> float:
    """Seconds."""
    cache, idx = KVCache(256), torch.tensor([[0]])
    with cache.active():
        model(idx)
    return _median(lambda: traced(model, cache, idx), 5)


def _of_a_run(stage: str, *, is_quick: bool) -> str:
    often, seldom = (2, 1) if is_quick else (300, 5)
    config = documented(stage)
    training = config.training
    iterations, batch_size = training.max_iters, training.batch_size
    evaluations, eval_iters = 1 + iterations // training.eval_interval, 1 if is_quick else training.eval_iters
    torch.manual_seed(0)
    tokenizer, data = _corpus(config.model.block_size)
    choice = Choice.model_validate(OmegaConf.to_container(config.model))
    model = models.build(choice, vocab_size=len(tokenizer))
    runtime = select_runtime(torch.device("cpu"), "float32", model)
    optimizer = AdamW(model, training.learning_rate, weight_decay=0.01, beta1=0.9, beta2=0.999)
    batch, no_skip = data.batch("train", batch_size, generator(0)), torch.zeros(())

    gradient = RecordedGradient(model, Autograd(Objective(), runtime))

    def backward() -> None:
        optimizer.zero_grad()
        gradient(model, batch, 1.0)

    def estimate() -> None:
        at_once = tokens_per_pass(runtime, model)
        mean_loss(model, data.estimation_batches("val", 0, 0, eval_iters, batch_size, at_once), "", runtime)

    with runtime.settings():
        for _ in range(3):  # the second is recorded
            backward()
        with kept(None) as folder:
            seconds = {
                "Python and configuration": wall_seconds(train_command("--cfg", "job"), folder),
                "importing torch": wall_seconds([sys.executable, "-c", "import torch"], folder),
                "corpus and tokens": _median(lambda: _corpus(config.model.block_size), seldom),
                "batches": iterations * _median(lambda: data.training_batch(0, 1, batch_size), often),
                "loss and gradient": iterations * _median(backward, often),
                "optimizer": iterations
                * _median(lambda: optimizer.step({"all": training.learning_rate}, no_skip), often),
                "estimates": 2 * evaluations * _median(estimate, seldom),
                "exact loss": _median(lambda: exact_loss(model, data, "val", runtime=runtime), seldom),
                "sample": _median(lambda: sample_text(model, tokenizer, seed=0), seldom),
            }
            short = QUICK_TRAINING if is_quick else []
            whole = wall_seconds(train_command(f"model={stage}", "device=cpu", *short), folder)
    seconds["the rest: the loop itself, plotting, files"] = whole - sum(seconds.values())
    seconds["the entire run, measured"] = whole
    lines = [[part, f"{value:.2f}", f"{value / whole:.0%}"] for part, value in seconds.items()]
    return markdown(["part", "s", "share"], lines)


def _corpus(block_size: int) -> tuple[CharTokenizer, TextData]:
    corpus = shakespeare(train_fraction=0.9)
    tokenizer = CharTokenizer(corpus.train + corpus.val)
    return tokenizer, TextData(corpus, tokenizer, block_size=block_size)


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
