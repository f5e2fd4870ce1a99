"""How the cost of v6, v8 and the stages beside the ladder grows with the length of a window, from 64 to 16,384.

    python benchmarks/architectures.py                                # all of them, about seven minutes
    python benchmarks/architectures.py v6 gru --lengths 64,256        # some of them
    python benchmarks/architectures.py --lengths ''                   # only the step over 32 windows

With a window of 8, all have about the parameters of v6. v8, of v6's size, is attention with a cache. A training step is
the forward and backward pass over one window and AdamW's update, on one core. A character is generated after half a
window. Memory is what a step needs at its peak beyond the model. conv has as many layers as the window allows, so its
size grows; mlp reads 8 characters whatever the window. Then the same step over 32 windows, on one core and on two, or
on the GPU if there is one.
"""

import gpt  # noqa: F401  # before torch, as in the scripts: it sets how threads wait

# isort: split
import itertools
import math
import re
import resource
import statistics
import sys
import time
from functools import partial

import torch
from harness import in_new_process, machine, markdown, parser, seconds_of

from gpt.base.ladder import OTHERS
from gpt.base.runtime import Runtime, select_device
from gpt.config.composing import compose
from gpt.config.reading import read
from gpt.data.batch import Batch
from gpt.models import Stage, build
from gpt.tasks.decoding.sampling import generate
from gpt.training.memory import memory_of
from gpt.training.objectives import batch_loss
from gpt.training.optimizers import OPTIMIZER

_SMALL = ["model.n_embd=32", "model.n_layer=3"]
_STAGES = {"v6": [], "v8": _SMALL, **{stage: [] for stage in OTHERS}, "hybrid": _SMALL}
_VOCABULARY = 65  # of tiny Shakespeare
_SECONDS = 2.0  # to repeat a step
_SHARE = 0.7  # of the machine's memory that a measurement may take
_FIGURES = ("ms a training step", "ms a generated character", "MB a training step")

Costs = list[float | None]  # the figures, in their order; None if there is not enough memory


def main() -> None:
    """Measure each stage at each length in a process of its own, and print the tables."""
    options = parser(__doc__, names=_STAGES)
    options.add_argument("--lengths", default="64,256,1024,4096,16384", help="of windows (default %(default)s)")
    given = options.parse_args()
    stages = given.names or list(_STAGES)
    lengths = [8] if given.quick else [int(length) for length in given.lengths.split(",") if length]
    costs = {key: _measured(*key, rows=1, threads=1) for key in itertools.product(stages, lengths)}
    print(machine())
    for i, figure in enumerate(_FIGURES if lengths else ()):
        cells = [[stage, *(_shown(costs[stage, length][i]) for length in lengths)] for stage in stages]
        table = markdown(["stage", *(f"{length:,}" for length in lengths)], cells)
        print(f"\n{figure}, by the length of the window\n\n{table}")
    rows, length = (2, 8) if given.quick else (32, 256)
    places = {1: "GPU"} if torch.cuda.is_available() else {1: "one core", 2: "two cores"}
    cells = []
    for stage in stages:
        steps = [_measured(stage, length, rows=rows, threads=threads)[0] for threads in places]
        cells.append([stage, *map(_shown, steps), *(_shown(a and b and a / b) for a, b in itertools.pairwise(steps))])
    print(f"\nms a training step over {rows} windows of {length}\n")
    print(markdown(["stage", *places.values(), *["times faster"][: len(places) - 1]], cells))


def _measured(stage: str, length: int, *, rows: int, threads: int) -> Costs:
    found = in_new_process(partial(_costs, stage, length, rows, threads))
    print(f"{stage}, {rows} x {length:,} characters, {threads} threads: {found}", file=sys.stderr)
    return found


def _costs(stage: str, length: int, rows: int, threads: int) -> Costs:
    """The costs in this process, which must be a new one: its peak of memory counts."""
    device, runtime = select_device("auto"), Runtime(select_device("auto"))
    torch.set_num_threads(threads)
    layers = [f"model.n_layer={int(math.log2(length))}"] if stage == "conv" else []
    config = compose(read("train", [f"model={stage}", f"model.block_size={length}", *_STAGES[stage], *layers]))
    torch.manual_seed(0)
    model = build(config.model, _VOCABULARY).to(device)
    optimizer = OPTIMIZER.build(compose(read("train", ["model=v6"])).optimizer, model=model, learning_rate=1e-3)
    ids = torch.randint(_VOCABULARY, (rows, length + 1), device=device)
    batch, no = Batch.full(ids[:, :-1], ids[:, 1:]), torch.zeros((), device=device)

    def step() -> None:
        batch_loss(model, batch).backward()
        optimizer.step(optimizer.peaks, no)
        optimizer.zero_grad()
        runtime.synchronize()

    if device.type == "cpu":  # makes too large a tensor an error instead of a machine that hangs
        most = int(_SHARE * memory_of(device))
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    try:
        before = _peak(device)
        step()
        megabytes = (_peak(device) - before) / 1e6
        seconds, end = list[float](), time.perf_counter() + _SECONDS
        while time.perf_counter() < end or len(seconds) < 2:
            seconds.append(seconds_of(step))
        return [1e3 * statistics.median(seconds), 1e3 * _of_character(model, ids[0], length), megabytes]
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and not re.search("memory|alloc", str(error)):
            raise
        return [None, None, None]


def _of_character(model: Stage, ids: torch.Tensor, length: int) -> float:
    """Seconds; the first one, for which the text so far is read, is left out."""
    count = max(1, min(16, length // 4))
    steps = generate(model, ids[: length // 2], tokens=1 + count, seed=1)
    next(steps).tolist()
    return seconds_of(lambda: [chosen.tolist() for chosen in steps]) / count


def _peak(device: torch.device) -> float:
    """The bytes that this process has held at most."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
