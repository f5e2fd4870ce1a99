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
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import generation
import private_kernels
import torch
import two_processes
import v7_training
from harness import QUICK_TRAINING, Row, machine, output, parser, train_command, wall_seconds
from same_losses import Losses
from tabulate import tabulate

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
    "speedrun": ["seed", "counted seconds", "seconds of the process", "validation, exact", "target reached"],
    "v7": [
        "seed", "minutes of training", "minutes with evaluations", "train, estimated", "validation, estimated",
        "validation, exact", "lowest validation",
    ],
    "settings": ["settings", "iterations", "tokens/s", "validation, exact"],
    "peers": ["work", "peer", "peer's median (range)", "this project's", "times better (median of pairs, range)"],
    "checks": ["check", "result"],
}  # fmt: skip
_TITLES = {
    "speedrun": "docs/lab/records.md: experiment=speedrun_gpu",
    "v7": "docs/lab/results.md: v7's documented run",
    "settings": "docs/lab/benchmarks.md: training",
    "peers": "docs/lab/benchmarks.md: peers",
    "checks": "Checks",
}


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
    with tempfile.TemporaryDirectory() as name:
        run = RunFolder(Path(name, "run"))
        place = f"hydra.run.dir={run.path}"
        command = train_command("experiment=speedrun_gpu", f"seed={seed}", place, "resume=null", *changes)
        seconds = wall_seconds(command, Path(name))
        s = run.summary()
    assert s.counted_seconds is not None
    reached = "yes" if s.reached else "no"
    return [[f"{seed}", f"{s.counted_seconds:.1f}", f"{seconds:.1f}", f"{s.exact.nats:.4f}", reached]]


def _v7(seed: int, setting: Setting) -> Cells:
    run = RunFolder(setting.out / "runs" / f"v7_seed{seed}")
    changes = [*_SMALL, *QUICK_TRAINING] if setting.quick else []
    place = [f"hydra.run.dir={run.path}", "resume=auto", "checkpoint.min_seconds=20"]
    output(train_command("model=v7", f"seed={seed}", *place, *changes), setting.out)
    s = run.summary()
    whole = f"{s.seconds / 60:.1f}" if len(run.commands()) == 1 else "-"  # of the last process only, if it was resumed
    losses = [s.estimated.train.nats, s.estimated.val.nats, s.exact.nats, s.best.nats]
    minutes = run.clock()[s.iterations] / 60
    return [[f"{seed}", f"{minutes:.1f}", whole, *(f"{loss:.4f}" for loss in losses)]]


def _determinism(stage: str, setting: Setting) -> Cells:
    """Train twice, and once more in two halves, and compare all losses and the weights."""
    iterations, size = (4, _SMALL) if setting.quick else (200, [])
    lengths = [f"training.eval_interval={iterations // 4}", "training.eval_iters=5", "training.exact_tokens=100000"]
    settings = [f"model={stage}", "schedule=constant", "schedule.warmup_iters=0", "deterministic=true", *lengths, *size]
    with tempfile.TemporaryDirectory() as name:
        first, second, resumed = (RunFolder(Path(name, kind)) for kind in ("first", "second", "resumed"))
        for run, count in ((first, iterations), (second, iterations), (resumed, iterations // 2)):
            output(train_command(*settings, f"hydra.run.dir={run.path}", f"training.max_iters={count}"), Path(name))
        output(train_command(f"resume={resumed.path}", f"training.max_iters={iterations}"), Path(name))
        return [
            [f"{stage}, deterministic=true, the same seed twice", _difference(first, second)],
            [f"{stage}, deterministic=true, resumed half-way", _difference(first, resumed)],
        ]


def _compiled(stage: str, setting: Setting) -> Cells:
    """Compare the gradients of some compiled passes, between which the weights change, with those of plain passes."""
    config, _ = composed("train", [f"model={stage}", *(_SMALL if setting.quick else [])])
    vocab_size, batch_size = 65, config["training"]["batch_size"]
    model = build(Choice.model_validate(config["model"]), vocab_size).to(device := select_device("auto"))
    model.eval()  # without dropout, whose masks differ
    ids = torch.randint(vocab_size, (batch_size, block_size_of(model) + 1), device=device)
    batch, runtime = Batch.full(ids[:, :-1], ids[:, 1:]), Runtime(device)
    objective = Objective()
    worst, parameters = (0.0, ""), dict(model.named_parameters())
    with compiler_options(device):
        compiled, _ = training_losses(model, [batch], runtime, objective, parts=1, compile=True)
        for _ in range(6):
            found = []
            for loss in (objective, compiled):
                model.zero_grad()
                loss(model, batch).backward()
                # Not copied, and kept until the next pass, as in training.
                found.append({name: p.grad for name, p in parameters.items() if p.grad is not None})
            plain, other = found
            norms = {name: ((other[name] - g).norm().item(), g.norm().item() + 1e-12) for name, g in plain.items()}
            worst = max(worst, *((error / norm, name) for name, (error, norm) in norms.items()))
            with torch.no_grad():
                for name, g in other.items():
                    parameters[name].sub_(g, alpha=0.01)
    difference, name = worst
    result = f"gradients differ by at most {difference:.1e} of their norm from those without it ({name})"
    return [[f"{stage}, compile=true", result]]


def _difference(one: RunFolder, other: RunFolder) -> str:
    here, there = _losses(one), _losses(other)
    if found := here.first_difference(there):
        return found
    if one.weights("last").read_bytes() != other.weights("last").read_bytes():
        return f"{len(here.values)} losses are equal, but not the weights"
    return f"{len(here.values)} losses and the weights are equal, to the last bit"


def _losses(run: RunFolder) -> Losses:
    values = {f"train at iteration {e.iteration}": e.train.nats for e in run.evaluations()}
    values |= {f"val at iteration {e.iteration}": e.val.nats for e in run.evaluations()}
    return Losses(values | {"exact": run.summary().exact.nats})


def _settings(settings: list[str], setting: Setting) -> Cells:
    iterations, changes = (4, [*_SMALL, *QUICK_TRAINING]) if setting.quick else (500, [])
    length = [f"training.max_iters={iterations}", f"training.eval_interval={iterations}", "training.eval_iters=1"]
    with tempfile.TemporaryDirectory() as name:
        run = RunFolder(Path(name, "run"))
        place = f"hydra.run.dir={run.path}"
        output(train_command(*settings, "schedule.warmup_iters=0", *changes, *length, place), Path(name))
        s = run.summary()
    return [[" ".join(settings), f"{iterations:,}", f"{s.tokens_per_second:,.0f}", f"{s.exact.nats:.4f}"]]


def _training(setting: Setting) -> Cells:
    return _cells(v7_training.rows(setting.nanogpt, setting.repeats, quick=setting.quick))


def _generation(batch: int, tokens: int, dtype: str, setting: Setting) -> Cells:
    if setting.quick:
        batch, tokens = 1, 8
    with tempfile.TemporaryDirectory() as name:
        return _cells([generation.v7_size(batch, tokens, dtype, setting.nanogpt, setting.repeats, Path(name))])


def _recorded(dtype: torch.dtype, setting: Setting) -> Cells:
    return _cells([private_kernels.recorded(dtype, setting.repeats, quick=setting.quick)])


def _two_processes(setting: Setting) -> Cells:
    if torch.cuda.device_count() < 2:
        return [["two processes", "-", "-", "not measured: needs two GPUs", "-"]]
    return _cells(two_processes.rows(setting.repeats, quick=setting.quick, device="cuda"))


def _cells(rows: list[Row]) -> Cells:
    return [row.cells() for row in rows]


_COMPILED = ("v6", "v7", "v8")
PARTS = {
    "speedrun_1": Part("speedrun", partial(_speedrun, 1)),
    "v7_1": Part("v7", partial(_v7, 1)),
    **{f"compiled_{stage}": Part("checks", partial(_compiled, stage)) for stage in _COMPILED},
    **{f"determinism_{stage}": Part("checks", partial(_determinism, stage)) for stage in ("v7", "v9")},
    **{
        name: Part("settings", partial(_settings, settings))
        for name, settings in {
            "v7_bfloat16": ["model=v7", "dtype=bfloat16"],
            "v7_float32": ["model=v7", "dtype=float32"],
            "v7_compiled": ["model=v7", "compile=true"],
            "v6": ["model=v6"],
            "v6_compiled": ["model=v6", "compile=true"],  # with CUDA graphs
            "v8": ["model=v8"],
            "v8_compiled": ["model=v8", "compile=true"],
        }.items()
    },
    **{f"speedrun_{seed}": Part("speedrun", partial(_speedrun, seed)) for seed in (2, 3)},
    **{f"v7_{seed}": Part("v7", partial(_v7, seed)) for seed in (2, 3)},
    **{
        f"generation_{batch}x{tokens}_{dtype}": Part("peers", partial(_generation, batch, tokens, dtype))
        for batch, tokens in generation.SIZES
        for dtype in ("float32", "bfloat16")
    },
    **{
        f"recorded_{name}": Part("peers", partial(_recorded, dtype))
        for name, dtype in {"float32": torch.float32, "bfloat16": torch.bfloat16}.items()
    },
    "training": Part("peers", _training),
    "two_processes": Part("peers", _two_processes),
}


def measure(parts: Mapping[str, Part], setting: Setting) -> None:
    """Measure the parts that have no result yet. One that fails is named, and the others go on."""
    for name, part in parts.items():
        if not _file(setting.out, name).exists():
            print(name, file=sys.stderr)
            try:
                result = {"machine": machine(), "rows": part.work(setting)}
            except SystemExit as error:  # a command failed
                print(f"{name} failed: {error}", file=sys.stderr)
            else:
                write_atomically(_file(setting.out, name), json.dumps(result))


def report(parts: Mapping[str, Part], out: Path) -> str:
    """The kept rows as Markdown, table by table and machine by machine; then what is not done."""
    done = {name: json.loads(_file(out, name).read_text()) for name in parts if _file(out, name).exists()}
    sections = []
    for table, headers in _TABLES.items():
        own = [result for name, result in done.items() if parts[name].table == table]
        for place in dict.fromkeys(result["machine"] for result in own):
            cells = [row for result in own if result["machine"] == place for row in result["rows"]]
            lines = tabulate(cells, headers, tablefmt="github", disable_numparse=True)
            sections.append(f"## {_TITLES[table]}\n\n{place}\n\n{lines}")
    if missing := [name for name in parts if name not in done]:
        sections.append(f"not done: {', '.join(missing)}")
    return "\n\n".join(sections) + "\n"


def _file(out: Path, name: str) -> Path:
    return out / f"{name}.json"


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("names", nargs="*", metavar="NAME", help=f"only these: {', '.join(PARTS)} (default all)")
    options.add_argument("--out", type=Path, help="where to keep results (default: nowhere)")
    options.add_argument("--nanogpt", type=Path, help="a checkout of karpathy/nanoGPT")
    options.add_argument("--repeats", type=int, default=3, help="pairs with a peer (default 3)")
    given = options.parse_args()
    if unknown := [name for name in given.names if name not in PARTS]:
        options.error(f"{unknown[0]} is none of {', '.join(PARTS)}")
    if given.nanogpt and not given.nanogpt.is_dir():
        options.error(f"--nanogpt {given.nanogpt}: no such folder")
    chosen = {name: PARTS[name] for name in given.names or PARTS}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the training of a part is stopped as well
    with tempfile.TemporaryDirectory() as temporary:
        out = (given.out or Path(temporary)).resolve()
        out.mkdir(parents=True, exist_ok=True)
        nanogpt = given.nanogpt.resolve() if given.nanogpt else None
        with contextlib.suppress(KeyboardInterrupt):
            measure(chosen, Setting(out, nanogpt, 1 if given.quick else given.repeats, given.quick))
        found = report(chosen, out)
        write_atomically(out / "report.md", found)
        print(found, end="")
