"""What the fast paths gain that use PyTorch's private functions or go around its kernels: each against its fallback.

    python benchmarks/private_kernels.py
    python benchmarks/private_kernels.py --whole NAME   # whole trainings, with a path and without

The package falls back to public functions where a version of PyTorch lacks a private one. Here both are timed in turn,
pair by pair: in a documented v6 step, for attention in bfloat16 in one of v8, and, for the packed matrices and the
recorded pass, in generation at v7's size. A recorded step, which goes around autograd, is compared with autograd.

With --whole, figures are processor seconds from the start of Python to its exit, on one thread: other processes change
them little, while a second thread would wait for a core.
"""

import gpt  # noqa: F401  # before torch, as in the scripts: it sets how threads wait

# isort: split
import argparse
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from generation import v7_generation
from harness import (
    QUICK_TRAINING,
    Row,
    compared,
    in_new_process,
    kept,
    output,
    parser,
    seconds_of,
    table,
    train_command,
)

from gpt.base.runtime import has_bfloat16, keep_freed_memory, select_device
from gpt.config.composing import compose
from gpt.config.reading import read
from gpt.session.build import build_trainer
from gpt.session.start import New
from gpt.training.compilation import compiler_options
from gpt.training.gradients import gradient_of
from gpt.training.objectives import Autograd
from gpt.training.optimizers import has_nonfinite
from gpt.training.processes import ALONE

_WARM_UP = 20  # steps that are not timed
_V1, _V3, _V6 = (f"model={stage} training.max_iters={n}" for stage, n in (("v1", 5000), ("v3", 1500), ("v6", 1500)))
_V7_CPU = "experiment=v7_cpu training.max_iters=100 training.eval_iters=5"
_V6_COMPILED = f"{_V6} compile=true"
_PRIVATE = {"fused": "_fused_adamw_", "one_check": "_amp_foreach_non_finite_check_and_unscale_"}  # functions of torch
# Each path: a name of the package, what stands there without the path, and trainings.
_WHOLE = {
    "recorded_step": ("gpt.training.gradients._RECORDED_FROM", "math.inf", [_V1, _V3, _V6]),
    "sums": ("gpt.models.attention._SHORT", "0", [_V6_COMPILED]),
    "dropout": ("gpt.models.attention.Dropout.forward", "lambda self, x: dropout(x, self.p, self.training)", [_V7_CPU]),
    "scan": (
        "gpt.models.records.hybrid.Scan.apply",
        "lambda a, b, h: (lambda A, B: (A * h[:, None] + B).transpose(0, 1))"
        "(*scanned(a.transpose(0, 1), b.transpose(0, 1), (len(a) - 1).bit_length()))",
        ["model=hybrid training.max_iters=40 training.eval_iters=5 training.exact_tokens=1000"],
    ),
    **{
        path: ("gpt.training.optimizers.hasattr", f"lambda x, name: name != {name!r} and hasattr(x, name)", [_V6])
        for path, name in _PRIVATE.items()
    },
    "operations": ("gpt.training.operations.Counter", "lambda: FlopCounterMode(display=False)", [_V1]),
    "joined": ("gpt.training.evaluation._TOKENS_PER_PASS_ON_CPU", "256", [_V6]),
    "memory": ("gpt.base.runtime.keep_freed_memory", "lambda _: None", [_V7_CPU]),
}
_WITHOUT = """
import gpt, math, runpy, sys
from unittest import mock
from gpt.models.others.min_gru import scanned
from torch.nn.functional import dropout
from torch.utils.flop_counter import FlopCounterMode
name, value, *sys.argv = sys.argv[1:]
with mock.patch(name, eval(value), create=name.endswith("hasattr")):
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


def rows(given: argparse.Namespace) -> list[Row]:
    """Milliseconds per step, and characters per second; on a GPU, without those that are for CPUs."""
    device = select_device("auto")
    reduced = [torch.bfloat16] if has_bfloat16(device) else []  # emulated, it takes minutes and says nothing
    found = [*_steps(given, device.type, bool(reduced))]
    dtypes, sizes = [torch.float32, *reduced], [(1, 8)] if given.quick else [(1, 256), (64, 64)]
    works = [("packed", size, dtype) for size in sizes for dtype in dtypes] if device.type == "cpu" else []
    # On a GPU, a CUDA graph.
    works += [("recorded", sizes[0], dtype) for dtype in (*dtypes, *([torch.int8] if device.type == "cpu" else []))]
    packs_float32 = mock.patch("gpt.tasks.decoding.packing.is_intel", return_value=False)
    for path, (batch, tokens), dtype in works:
        work = f"v7-size generation, {batch} x {tokens} characters, {str(dtype)[6:]}, {path}"
        peer, fallback = ("nn.Linear", unpacked()) if path == "packed" else ("the stage's Python", unrecorded())
        ours = partial(_within, packs_float32, partial(v7_generation, batch, tokens, dtype))
        found.append(compared(given, work, "characters/s", ours, peer, partial(_within, fallback, ours)))
    return found


def whole(given: argparse.Namespace) -> Iterator[Row]:
    """Processor seconds of whole trainings with each path and without it."""
    with kept() as folder:
        for path in given.names or _WHOLE:
            name, value, works = _WHOLE[path]
            for work in works[:1] if given.quick else works:
                command = train_command(*work.split(), *(QUICK_TRAINING if given.quick else []))
                without = [sys.executable, "-c", _WITHOUT, name, value, *command[1:]]
                ours = partial(_processor_seconds, command, folder)
                theirs = partial(_processor_seconds, without, folder)
                if "compile=true" in work:
                    theirs()  # The first call fills the compiler's cache.
                yield compared(given, f"{path}: {work}", "s", ours, "without", theirs)


def _processor_seconds(command: list[str], folder: Path) -> float:
    """User and system time of a process and its children, on one thread."""
    before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    output(command, folder, settings={"OMP_NUM_THREADS": "1"})
    return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before


def _steps(given: argparse.Namespace, device: str, has_bfloat16: bool) -> Iterator[Row]:
    steps = 2 if given.quick else 1000
    for name in _PRIVATE.values():
        ours = partial(step, "v6", steps)
        theirs = partial(_within, without("gpt.training.optimizers", name), ours)
        yield compared(given, f"v6 step, torch.{name}", "ms", ours, "public fallback", theirs)
    if device != "cpu":
        return
    for stage in ("v1",) if given.quick else ("v1", "v2", "v5", "v6"):
        ours, theirs = (partial(step, stage, steps, is_recorded=is_recorded) for is_recorded in (True, False))
        yield compared(given, f"{stage} step, recorded", "ms", ours, "autograd", theirs)
    if not given.quick:  # compiling takes half a minute
        ours, theirs = (partial(in_new_process, partial(_compiled, steps, is_private=own)) for own in (True, False))
        yield compared(given, "v6 step, compiled, aggressive_recomputation", "ms", ours, "masks stored", theirs)
    if has_bfloat16:
        v8 = partial(step, "v8", 2 if given.quick else 50, dtype="bfloat16")
        fallback = mock.patch("gpt.models.attention._SHORT_IN_BFLOAT16", 0)  # PyTorch's kernel in bfloat16, too
        theirs = partial(_within, fallback, v8)
        yield compared(given, "v8 step, bfloat16, attention as products", "ms", v8, "PyTorch's kernel", theirs)


def _within(context: AbstractContextManager, measured: Callable[[], float]) -> float:
    with context:
        return measured()


def without(module: str, name: str) -> AbstractContextManager:
    """Make `hasattr(torch, name)` false for `module` of the package.

    PyTorch itself keeps the name, because its compiler reads it.
    """
    return mock.patch(f"{module}.hasattr", lambda owner, asked: asked != name and hasattr(owner, asked), create=True)


def unpacked() -> AbstractContextManager:
    """Make `packed` leave linear layers unchanged."""
    return mock.patch("torch.backends.mkldnn.is_available", return_value=False)


def unrecorded() -> AbstractContextManager:
    """Make `generate` run a stage's own code for every token."""
    return mock.patch("gpt.tasks.decoding.sampling._MANY", {})


def step(stage: str, steps: int, *, compile: bool = False, dtype: str = "float32", is_recorded: bool = False) -> float:
    """Milliseconds per step of a stage's documented run: forward, backward, the check for NaN and Inf, AdamW."""
    keep_freed_memory(device := select_device("auto"))
    settings = [f"model={stage}", "optimizer=adamw", f"dtype={dtype}", f"compile={compile}".lower()]
    with compiler_options(device) if compile else nullcontext():
        command = read("train", settings)
        trainer = build_trainer(New(compose(command)), command, device, ALONE)
        optimizer, batch = trainer.optimizer, trainer.batch(0)
        gradient = gradient_of(trainer) if is_recorded else Autograd(trainer.loss, trainer.runtime)

        def run(steps: int) -> None:
            for _ in range(steps):
                mean = gradient(trainer.model, batch, 1.0)
                skip = has_nonfinite([mean, *(p.grad for p in optimizer.parameters.values() if p.grad is not None)])
                optimizer.step(optimizer.peaks, skip)
                optimizer.zero_grad()
            trainer.runtime.synchronize()

        with trainer.runtime.settings():
            run(min(steps, _WARM_UP))
            return seconds_of(lambda: run(steps)) / steps * 1000


def _compiled(steps: int, *, is_private: bool) -> float:
    removed = without("gpt.training.compilation", "aggressive_recomputation")
    with nullcontext() if is_private else removed:
        return step("v6", steps, compile=True)


if __name__ == "__main__":
    options = parser(__doc__, names=_WHOLE)
    options.add_argument("--whole", action="store_true", help="whole trainings, for all paths or NAME")
    given = options.parse_args()
    print(table([*whole(given)] if given.whole else rows(given)))
