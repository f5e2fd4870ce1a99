"""What is wanted of a GPU: v7's documented run, a record, speeds, and checks of the kernels that only a GPU has.

    python benchmarks/gpu.py --out runs/gpu --nanogpt PATH
    python benchmarks/gpu.py --out runs/gpu speedrun_1 v7_1  # some of it

The result of a part is a small file in `--out`, and a part that has one is not measured again; v7's documented runs are
resumed. So if the command is stopped, or a part fails, repeat it. The report, also kept as report.md, has the rows for
docs/lab/results.md, docs/lab/records.md and docs/lab/benchmarks.md.
"""

import gpt  # noqa: F401  # before torch, as in the scripts: it sets how threads wait

# isort: split
import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import generation
import private_kernels
import torch
import two_processes
import v7_training
from harness import HEADERS, QUICK_TRAINING, Row, arguments, kept, machine, markdown, output, train_command, trained
from same_losses import Losses

from gpt.base.choices import Choice
from gpt.base.files import write_atomically
from gpt.base.runtime import Runtime, select_device
from gpt.cli.composing import composed
from gpt.data.batch import Batch
from gpt.models import block_size_of, build
from gpt.runs.folder import RunFolder
from gpt.training.compilation import compiler_options, training_losses
from gpt.training.objectives import Objective

Cells = list[list[str]]

_SMALL = ["model.block_size=16", "model.n_embd=32", "model.n_head=2", "model.n_layer=1", "training.batch_size=4"]
_TABLES = {
    "speedrun": ("docs/lab/records.md: experiment=speedrun_gpu",
                 ["seed", "counted seconds", "seconds of the process", "validation, exact", "target reached"]),
    "v7": ("docs/lab/results.md: v7's documented run",
           ["seed", "minutes of training", "minutes with evaluations", "train, estimated", "validation, estimated",
            "validation, exact", "lowest validation"]),
    "settings": ("docs/lab/benchmarks.md: training", ["settings", "iterations", "tokens/s", "validation, exact"]),
    "peers": ("docs/lab/benchmarks.md: peers", HEADERS),
    "checks": ("Checks", ["check", "result"]),
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """What the parts of a command have in common."""

    out: Path
    nanogpt: Path | None
    repeats: int
    quick: bool


@dataclass(frozen=True)
class Part:
    """Rows of a table."""

    table: str
    work: Callable[[Setting], Cells]


def _speedrun(seed: int, setting: Setting) -> Cells:
    changes = ["training.short_window=null", *QUICK_TRAINING] if setting.quick else []
    with kept(None) as folder:
        started = time.perf_counter()
        s = trained(folder / "run", "experiment=speedrun_gpu", f"seed={seed}", *changes).summary()
        seconds = time.perf_counter() - started
    assert s.counted_seconds is not None
    reached = "yes" if s.reached else "no"
    return [[f"{seed}", f"{s.counted_seconds:.1f}", f"{seconds:.1f}", f"{s.exact.nats:.4f}", reached]]


def _v7(seed: int, setting: Setting) -> Cells:
    changes = [*_SMALL, *QUICK_TRAINING] if setting.quick else []
    place = setting.out / "runs" / f"v7_seed{seed}"
    run = trained(place, "model=v7", f"seed={seed}", "checkpoint.min_seconds=20", *changes)
    s = run.summary()
    whole = f"{s.seconds / 60:.1f}" if len(run.commands()) == 1 else "-"  # of the last process only, if it was resumed
    losses = [s.estimated.train.nats, s.estimated.val.nats, s.exact.nats, s.best.nats]
    minutes = run.clock()[s.iterations] / 60
    return [[f"{seed}", f"{minutes:.1f}", whole, *(f"{loss:.4f}" for loss in losses)]]


def _settings(settings: list[str], setting: Setting) -> Cells:
    iterations, changes = (4, [*_SMALL, *QUICK_TRAINING]) if setting.quick else (500, [])
    length = [f"training.max_iters={iterations}", f"training.eval_interval={iterations}", "training.eval_iters=1"]
    with kept(None) as folder:
        s = trained(folder / "run", *settings, "schedule.warmup_iters=0", *changes, *length).summary()
    return [[" ".join(settings), f"{iterations:,}", f"{s.tokens_per_second:,.0f}", f"{s.exact.nats:.4f}"]]


def _determinism(stage: str, setting: Setting) -> Cells:
    """Train twice, and once more in two halves, and compare all losses and the weights."""
    iterations, size = (4, _SMALL) if setting.quick else (200, [])
    lengths = [f"training.eval_interval={iterations // 4}", "training.eval_iters=5", "training.exact_tokens=100000"]
    settings = [f"model={stage}", "schedule=constant", "schedule.warmup_iters=0", "deterministic=true", *lengths, *size]
    with kept(None) as folder:
        whole = f"training.max_iters={iterations}"
        first, second = (trained(folder / name, *settings, whole) for name in ("first", "second"))
        half = trained(folder / "half", *settings, f"training.max_iters={iterations // 2}")
        output(train_command(f"resume={half.path}", whole), folder)
        return [
            [f"{stage}, deterministic=true, the same seed twice", _difference(first, second)],
            [f"{stage}, deterministic=true, resumed half-way", _difference(first, half)],
        ]


def _difference(one: RunFolder, other: RunFolder) -> str:
    here, there = (Losses.of(run.path) for run in (one, other))
    if found := here.first_difference(there):
        return found
    if one.weights("last").read_bytes() != other.weights("last").read_bytes():
        return f"{len(here.values)} losses are equal, but not the weights"
    return f"{len(here.values)} losses and the weights are equal, to the last bit"


def _compiled(stage: str, setting: Setting) -> Cells:
    """Compare the gradients of some compiled passes, between which the weights change, with those of plain passes."""
    config, _ = composed("train", [f"model={stage}", *(_SMALL if setting.quick else [])])
    vocab_size, batch_size = 65, config["training"]["batch_size"]
    model = build(Choice.model_validate(config["model"]), vocab_size).to(device := select_device("auto"))
    model.eval()  # without dropout, whose masks differ
    ids = torch.randint(vocab_size, (batch_size, block_size_of(model) + 1), device=device)
    batch, objective = Batch.full(ids[:, :-1], ids[:, 1:]), Objective()
    worst, parameters = (0.0, ""), dict(model.named_parameters())
    with compiler_options(device):
        compiled, _ = training_losses(model, [batch], Runtime(device), objective, parts=1, compile=True)
        for _ in range(6):
            found = []
            for loss in (objective, compiled):
                model.zero_grad()
                loss(model, batch).backward()
                # Not copied, and kept until the next pass, as in training.
                found.append({name: p.grad for name, p in parameters.items() if p.grad is not None})
            plain, other = found
            norms = {name: (other[name] - g).norm() / (g.norm() + 1e-12) for name, g in plain.items()}
            worst = max(worst, *((norm.item(), name) for name, norm in norms.items()))
            with torch.no_grad():
                for name, g in other.items():
                    parameters[name].sub_(g, alpha=0.01)
    result = f"gradients differ by at most {worst[0]:.1e} of their norm from those without it ({worst[1]})"
    return [[f"{stage}, compile=true", result]]


def _peers(rows: Callable[[Setting], list[Row]]) -> Part:
    return Part("peers", lambda setting: [row.cells() for row in rows(setting)])


def _generation(batch: int, tokens: int, dtype: str, setting: Setting) -> list[Row]:
    batch, tokens = (1, 8) if setting.quick else (batch, tokens)
    with kept(None) as folder:
        return [generation.v7_size(batch, tokens, dtype, setting.nanogpt, setting.repeats, folder)]


def _recorded(dtype: torch.dtype, setting: Setting) -> list[Row]:
    return [private_kernels.recorded(dtype, setting.repeats, quick=setting.quick)]


_RUNS = {
    "v7_bfloat16": ["model=v7", "dtype=bfloat16"],
    "v7_float32": ["model=v7", "dtype=float32"],
    "v7_compiled": ["model=v7", "compile=true"],
    "v6": ["model=v6"],
    "v6_compiled": ["model=v6", "compile=true"],  # with CUDA graphs
    "v8": ["model=v8"],
    "v8_compiled": ["model=v8", "compile=true"],
}
PARTS = {
    **{f"speedrun_{seed}": Part("speedrun", partial(_speedrun, seed)) for seed in (1, 2, 3)},
    **{f"v7_{seed}": Part("v7", partial(_v7, seed)) for seed in (1, 2, 3)},
    **{f"compiled_{stage}": Part("checks", partial(_compiled, stage)) for stage in ("v6", "v7", "v8")},
    **{f"determinism_{stage}": Part("checks", partial(_determinism, stage)) for stage in ("v7", "v9")},
    **{name: Part("settings", partial(_settings, settings)) for name, settings in _RUNS.items()},
    **{
        f"generation_{batch}x{tokens}_{dtype}": _peers(partial(_generation, batch, tokens, dtype))
        for batch, tokens in generation.SIZES
        for dtype in ("float32", "bfloat16")
    },
    **{
        f"recorded_{name}": _peers(partial(_recorded, dtype))
        for name, dtype in {"float32": torch.float32, "bfloat16": torch.bfloat16}.items()
    },
    "training": _peers(lambda s: v7_training.rows(s.nanogpt, s.repeats, quick=s.quick)),
    "two_processes": _peers(lambda s: two_processes.rows(s.repeats, quick=s.quick, device="cuda")),  # with two GPUs
}


def measure(parts: Mapping[str, Part], setting: Setting) -> None:
    """Measure the parts that have no result yet. One that fails is named, and the others go on."""
    for name, part in parts.items():
        file = setting.out / f"{name}.json"
        if not file.exists():
            print(name, file=sys.stderr)
            try:
                result = {"machine": machine(), "rows": part.work(setting)}
            except SystemExit as error:  # a command failed
                print(f"{name} failed: {error}", file=sys.stderr)
            else:
                write_atomically(file, json.dumps(result))


def report(parts: Mapping[str, Part], out: Path) -> str:
    """The kept rows as Markdown, table by table and machine by machine; then what is not done."""
    files = {name: out / f"{name}.json" for name in parts}
    done = {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
    sections = []
    for table, (title, headers) in _TABLES.items():
        own = [result for name, result in done.items() if parts[name].table == table]
        for place in dict.fromkeys(result["machine"] for result in own):
            cells = [row for result in own if result["machine"] == place for row in result["rows"]]
            sections.append(f"## {title}\n\n{place}\n\n{markdown(headers, cells)}")
    if missing := [name for name in parts if name not in done]:
        sections.append(f"not done: {', '.join(missing)}")
    return "\n\n".join(sections) + "\n"


if __name__ == "__main__":
    given = arguments(__doc__, "nanogpt", names=[*PARTS], out=(Path, None, "where to keep results"))
    chosen = {name: PARTS[name] for name in given.names}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the training of a part is stopped as well
    with kept(given.out) as out:
        with contextlib.suppress(KeyboardInterrupt):
            measure(chosen, Setting(out, given.nanogpt, given.repeats, given.quick))
        found = report(chosen, out)
        write_atomically(out / "report.md", found)
        print(found, end="")
