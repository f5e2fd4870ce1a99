"""How the cost of v6, v8 and the stages beside the ladder grows with the length of a window, from 64 to 16,384.

    python benchmarks/architectures.py                                # all of them, about seven minutes
    python benchmarks/architectures.py v6 gru --lengths 64,256        # some of them
    python benchmarks/architectures.py --lengths ''                   # only the step over 32 windows
    python benchmarks/architectures.py --out runs/architectures       # keeps what was measured, and continues there

With a window of 8, all have about the parameters of v6. v8, of v6's size, is attention with a cache. A training step is
the forward and backward pass over one window and AdamW's update, on one core. A character is generated after half a
window. Memory is what a step needs at its peak beyond the model. conv has as many layers as the window allows, so its
size grows; mlp reads 8 characters whatever the window. Then the same step over 32 windows, on one core and on two, or
on the GPU if there is one.
"""

import gpt  # noqa: F401  # before torch, as in the scripts: it sets how threads wait

# isort: split
import json
import math
import re
import resource
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from harness import REPOSITORY, arguments, kept, machine, markdown, output
from matplotlib.figure import Figure

from gpt.base.choices import Choice
from gpt.base.files import write_atomically
from gpt.base.ladder import OTHERS
from gpt.base.pictures import write_picture
from gpt.base.runtime import Runtime, select_device
from gpt.cli.composing import composed
from gpt.data.batch import Batch
from gpt.models import build
from gpt.tasks.decoding.sampling import generate
from gpt.training.memory import memory_of
from gpt.training.objectives import batch_loss
from gpt.training.optimizers import OPTIMIZER

_SMALL = ["model.n_embd=32", "model.n_layer=3"]
STAGES = {"v6": [], "v8": _SMALL, **{stage: [] for stage in OTHERS}, "hybrid": _SMALL}
_LENGTHS = (64, 256, 1024, 4096, 16384)
_VOCABULARY = 65  # of tiny Shakespeare
_PARALLEL = (32, 256)  # windows, and their length, to compare one core and two
_SECONDS = 2.0  # to repeat a step
_SHARE = 0.7  # of the machine's memory that a measurement may take


@dataclass(frozen=True)
class Cost:
    """Of one stage at one length of the window; a figure is None if there is not enough memory."""

    stage: str
    length: int
    rows: int
    threads: int
    step: float | None  # seconds of a training step
    character: float | None  # seconds of a generated character
    megabytes: float | None  # of a training step


def main() -> None:
    """Measure each stage at each length in a process of its own, and print the tables."""
    given = arguments(
        __doc__, names=STAGES, lengths=(str, ",".join(map(str, _LENGTHS)), "of windows, in characters"),
        out=(Path, None, "where to keep the figures, with a picture: architectures.png"),
    )  # fmt: skip
    lengths = [8, 16] if given.quick else [int(length) for length in given.lengths.split(",") if length]
    rows, length = (2, 8) if given.quick else _PARALLEL
    with kept(given.out) as out:
        costs = [_kept(out, stage, T, 1, 1) for stage in given.names for T in lengths]
        workers = (1,) if torch.cuda.is_available() else (1, 2)
        parallel = [_kept(out, stage, length, rows, threads) for stage in given.names for threads in workers]
        print(_tables(costs, parallel))
        if given.out and costs:
            _draw(costs, out / "architectures.png")


def measured(stage: str, length: int, rows: int, threads: int) -> Cost:
    """The cost in this process, which must be a new one: its peak of memory counts."""
    device, runtime = select_device("auto"), Runtime(select_device("auto"))
    torch.set_num_threads(threads)
    layers = [f"model.n_layer={int(math.log2(length))}"] if stage == "conv" else []
    config, _ = composed("train", [f"model={stage}", f"model.block_size={length}", *STAGES[stage], *layers])
    torch.manual_seed(0)
    model = build(Choice.model_validate(config["model"]), _VOCABULARY).to(device)
    adamw, _ = composed("train", ["model=v6"])
    optimizer = OPTIMIZER.build(Choice.model_validate(adamw["optimizer"]), model=model, learning_rate=1e-3)
    ids = torch.randint(_VOCABULARY, (rows, length + 1), device=device)
    batch, no = Batch.full(ids[:, :-1], ids[:, 1:]), torch.zeros((), device=device)

    def step() -> float:
        started = time.perf_counter()
        batch_loss(model, batch).backward()
        optimizer.step(optimizer.peaks, no)
        optimizer.zero_grad()
        runtime.synchronize()
        return time.perf_counter() - started

    if device.type == "cpu":  # makes too large a tensor an error instead of a machine that hangs
        most = int(_SHARE * memory_of(device))
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    try:
        before = _peak(device)
        steps = [step()]
        megabytes = (_peak(device) - before) / 1e6
        end = time.perf_counter() + _SECONDS
        while time.perf_counter() < end or len(steps) < 3:
            steps.append(step())
        character = _of_character(model, ids[0], length)
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and not re.search("memory|alloc", str(error)):
            raise
        return Cost(stage, length, rows, threads, None, None, None)
    return Cost(stage, length, rows, threads, statistics.median(steps[1:]), character, megabytes)


def _of_character(model: torch.nn.Module, ids: torch.Tensor, length: int) -> float:
    """Seconds; the first one, for which the text so far is read, is left out."""
    count = max(1, min(16, length // 4))
    steps = generate(model, ids[: length // 2], tokens=1 + count, seed=1)
    next(steps).tolist()
    started = time.perf_counter()
    for chosen in steps:
        chosen.tolist()
    return (time.perf_counter() - started) / count


def _peak(device: torch.device) -> float:
    """The bytes that this process has held at most."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _kept(out: Path, stage: str, length: int, rows: int, threads: int) -> Cost:
    """What was measured before on such a machine and with these versions, or is now."""
    file = out / f"{stage}_{length}_{rows}_{threads}.json"
    _, _, here = machine().partition(", ")  # without the date
    kept = json.loads(file.read_text()) if file.exists() else {}
    if kept.get("machine") != here:
        code = (
            f"import sys, json; sys.path.insert(0, {str(REPOSITORY / 'benchmarks')!r}); import architectures as a;"
            f"print(json.dumps(vars(a.measured({stage!r}, {length}, {rows}, {threads}))))"
        )
        text = output([sys.executable, "-c", code], out, settings={"OMP_NUM_THREADS": str(threads)})
        kept = {"machine": here, "cost": json.loads(text)}
        write_atomically(file, json.dumps(kept))
        print(f"{stage}, {length:,} characters, {threads} threads: {text.strip()}", file=sys.stderr)
    return Cost(**kept["cost"])


def _tables(costs: list[Cost], parallel: list[Cost]) -> str:
    parts = [machine()]
    figures = {
        "ms a training step": [(cost.step and cost.step * 1e3) for cost in costs],
        "ms a generated character": [(cost.character and cost.character * 1e3) for cost in costs],
        "MB a training step": [cost.megabytes for cost in costs],
    }
    lengths = sorted({cost.length for cost in costs})
    for title, values in figures.items() if costs else ():
        found = {(cost.stage, cost.length): value for cost, value in zip(costs, values, strict=True)}
        stages = dict.fromkeys(cost.stage for cost in costs)
        rows = [[stage, *(_shown(found[stage, length]) for length in lengths)] for stage in stages]
        cells = markdown(["stage", *(f"{n:,}" for n in lengths)], rows)
        parts.append(f"{title}, by the length of the window\n\n{cells}")
    title = f"ms a training step over {parallel[0].rows} windows of {parallel[0].length}"
    parts.append(f"{title}\n\n{_parallel_table(parallel)}")
    return "\n\n".join(parts)


def _parallel_table(costs: list[Cost]) -> str:
    headers = ["stage", "GPU"] if torch.cuda.is_available() else ["stage", "one core", "two cores", "times faster"]
    rows = []
    for stage in dict.fromkeys(cost.stage for cost in costs):
        steps = [cost.step and cost.step * 1e3 for cost in costs if cost.stage == stage]
        gain = [f"{steps[0] / steps[1]:.2f}"] if len(steps) == 2 and steps[0] and steps[1] else []
        rows.append([stage, *map(_shown, steps), *gain])
    return markdown(headers, rows)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _draw(costs: list[Cost], path: Path) -> None:
    """Each figure against the length, both on a logarithmic scale."""
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    panels = {
        "seconds a training step": lambda cost: cost.step,
        "seconds a generated character": lambda cost: cost.character,
        "MB a training step": lambda cost: cost.megabytes,
    }
    for axes, (label, value) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for stage in dict.fromkeys(cost.stage for cost in costs):
            points = [(cost.length, value(cost)) for cost in costs if cost.stage == stage and value(cost)]
            if points:
                axes.plot(*zip(*points, strict=True), "o-", label=stage)
        axes.set(xlabel="length of the window (characters)", ylabel=label, xscale="log", yscale="log")
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize="small")
    write_picture(path, figure)


if __name__ == "__main__":
    main()
