"""What is wanted of a GPU, in commands of at most ten minutes, each of which continues where the last was cut off.

    python benchmarks/gpu.py --out runs/gpu --nanogpt PATH
    python benchmarks/gpu.py --out runs/gpu speedrun_1 v7_1  # some of it

Each part runs in a process of its own with a time limit, the most valuable first. The result of a part is a small file
in `--out`, and a part that has one is not run again; v7's documented runs are resumed. A part that failed or exceeded
its limit is run again after all others. The report, also kept as report.md, has the rows for docs/results.md and
docs/benchmarks.md. GPT_DATA_DIR must hold tiny Shakespeare if there is no network.
"""

import gpt  # noqa: F401  # before torch, as in the scripts: it sets how threads wait

# isort: split
import contextlib
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import generation
import private_kernels
import torch
import two_processes
import v7_training
from harness import (
    QUICK_TRAINING,
    REPOSITORY,
    Row,
    machine,
    output,
    parser,
    train_command,
    wall_seconds,
    with_checkout,
)
from same_losses import Losses
from tabulate import tabulate

from gpt.base.files import write_atomically
from gpt.runs.folder import RunFolder

Cells = list[list[str]]

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
    "speedrun": "docs/results.md: experiment=speedrun_gpu, to be reached in 15 s",
    "v7": "docs/results.md: v7's documented run, documented at 15 minutes on an A100, 1.0763 train, 1.4873 validation",
    "settings": "docs/benchmarks.md: training",
    "peers": "docs/benchmarks.md: peers",
    "checks": "Checks",
}
_GRACE = 15  # seconds in which a training that is cut off saves a checkpoint
_SMALL = ["model.block_size=16", "model.n_embd=32", "model.n_head=2", "model.n_layer=1", "training.batch_size=4"]


@dataclass(frozen=True)
class Setting:
    """What the parts of a command have in common."""

    out: Path
    nanogpt: Path | None
    repeats: int
    quick: bool


@dataclass(frozen=True)
class Part:
    """What is measured in one process of at most `seconds`: rows of a table."""

    table: str
    seconds: float
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
    assert s.target is not None
    reached = "yes" if s.exact.val <= s.target else "no"
    return [[f"{seed}", f"{s.counted_seconds:.1f}", f"{seconds:.1f}", f"{s.exact.val:.4f}", reached]]


def _v7(seed: int, setting: Setting) -> Cells:
    run = RunFolder(setting.out / "runs" / f"v7_seed{seed}")
    changes = [*_SMALL, *QUICK_TRAINING] if setting.quick else []
    place = [f"hydra.run.dir={run.path}", "resume=auto", "checkpoint.min_seconds=20"]
    output(train_command("model=v7", f"seed={seed}", *place, *changes), setting.out)
    s = run.summary()
    whole = f"{s.seconds / 60:.1f}" if len(run.commands()) == 1 else "-"  # of the last process only, if it was resumed
    losses = [s.estimated.train, s.estimated.val, s.exact.val, s.best.val]
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


def _difference(one: RunFolder, other: RunFolder) -> str:
    here, there = _losses(one), _losses(other)
    if found := here.first_difference(there):
        return found
    if one.weights("last").read_bytes() != other.weights("last").read_bytes():
        return f"{len(here.values)} losses are equal, but not the weights"
    return f"{len(here.values)} losses and the weights are equal, to the last bit"


def _losses(run: RunFolder) -> Losses:
    values = {f"train at iteration {e.iteration}": e.train for e in run.evaluations()}
    values |= {f"val at iteration {e.iteration}": e.val for e in run.evaluations()}
    return Losses(values | {"exact": run.summary().exact.val})


def _settings(settings: list[str], setting: Setting) -> Cells:
    iterations, changes = (4, [*_SMALL, *QUICK_TRAINING]) if setting.quick else (500, [])
    length = [f"training.max_iters={iterations}", f"training.eval_interval={iterations}", "training.eval_iters=1"]
    with tempfile.TemporaryDirectory() as name:
        run = RunFolder(Path(name, "run"))
        place = f"hydra.run.dir={run.path}"
        output(train_command(*settings, "schedule.warmup_iters=0", *changes, *length, place), Path(name))
        s = run.summary()
    return [[" ".join(settings), f"{iterations:,}", f"{s.tokens_per_second:,.0f}", f"{s.exact.val:.4f}"]]


def _tests(folder: str, setting: Setting) -> Cells:
    """What pytest says of a folder of the quick suite, and which tests failed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", f"tests/{folder}"]
    if setting.quick:
        command += ["--collect-only", "--numprocesses=0"]
    environment = os.environ | with_checkout()
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    (setting.out / f"tests_{folder}.log").write_text(done.stdout)
    if done.returncode not in (0, 1):  # 1: some failed
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr}")
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return [[f"tests/{folder}", "; ".join([done.stdout.strip().splitlines()[-1].strip("= "), *failed])]]


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


PARTS = {
    "speedrun_1": Part("speedrun", 120, partial(_speedrun, 1)),
    "v7_1": Part("v7", 420, partial(_v7, 1)),
    **{f"determinism_{stage}": Part("checks", 150, partial(_determinism, stage)) for stage in ("v7", "v9")},
    **{
        name: Part("settings", 180, partial(_settings, settings))
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
    **{
        f"tests_{folder}": Part("checks", 240, partial(_tests, folder))
        for folder in ("training", "tasks", "models", "session", "apps", "runs", "cli")
    },
    **{f"speedrun_{seed}": Part("speedrun", 120, partial(_speedrun, seed)) for seed in (2, 3)},
    **{f"v7_{seed}": Part("v7", 420, partial(_v7, seed)) for seed in (2, 3)},
    **{
        f"generation_{batch}x{tokens}_{dtype}": Part("peers", 240, partial(_generation, batch, tokens, dtype))
        for batch, tokens in generation.SIZES
        for dtype in ("float32", "bfloat16")
    },
    **{
        f"recorded_{name}": Part("peers", 120, partial(_recorded, dtype))
        for name, dtype in {"float32": torch.float32, "bfloat16": torch.bfloat16}.items()
    },
    "training": Part("peers", 420, _training),
    "two_processes": Part("peers", 300, _two_processes),
}


def measure(parts: Mapping[str, Part], setting: Setting, minutes: float) -> None:
    """Run the parts that have no result yet, until the minutes are over; those that failed before come last."""
    deadline = time.monotonic() + 60 * minutes
    for name in sorted(parts, key=lambda name: _file(setting.out, name).exists()):
        left = deadline - time.monotonic()
        if "rows" not in _kept(setting.out, name) and left > 0:
            _measure(name, parts[name], setting, left)
            write_atomically(setting.out / "report.md", report(parts, setting.out))


def _measure(name: str, part: Part, setting: Setting, left: float) -> None:
    path, limit = _file(setting.out, name), min(part.seconds, left)
    print(f"{name}: at most {limit:.0f} s", file=sys.stderr)
    worker = multiprocessing.get_context("spawn").Process(target=_work, args=(part, setting, path))
    worker.start()
    try:
        worker.join(limit)
    finally:
        is_cut_off = worker.is_alive()
        _end(worker)
    if is_cut_off and limit == part.seconds:
        _keep(path, {"error": f"longer than {part.seconds:g} s"})
    elif not is_cut_off and worker.exitcode:
        _keep(path, {"error": f"its process ended with {worker.exitcode}"})


def _work(part: Part, setting: Setting, path: Path) -> None:
    """Keep the result of a part; of one that is cut off, nothing."""
    os.setsid()  # so that it can be stopped with all its processes
    stopped: list[int] = []
    # It ends when its processes have: a training saves a checkpoint first.
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    result: dict[str, object]
    try:
        result = {"machine": machine(), "rows": part.work(setting)}
    except SystemExit as error:
        result = {"error": str(error)}
    except Exception:
        result = {"error": traceback.format_exc()}
    if not stopped:
        _keep(path, result)


def _end(worker: BaseProcess) -> None:
    """Stop a worker and all that it started."""
    assert worker.pid is not None
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(worker.pid, number)
        except ProcessLookupError:  # all have ended, or it is still importing
            worker.kill()
        worker.join(_GRACE)


def report(parts: Mapping[str, Part], out: Path) -> str:
    """The kept rows as Markdown, table by table and machine by machine; then what failed and what is not done."""
    kept = {name: _kept(out, name) for name in parts}
    done = {name: result for name, result in kept.items() if "rows" in result}
    sections = []
    for table, headers in _TABLES.items():
        own = {name: result for name, result in done.items() if parts[name].table == table}
        for place in dict.fromkeys(result["machine"] for result in own.values()):
            cells = [row for result in own.values() if result["machine"] == place for row in result["rows"]]
            lines = tabulate(cells, headers, tablefmt="github", disable_numparse=True)
            sections.append(f"## {_TITLES[table]}\n\n{place}\n\n{lines}")
    sections += [f"failed: {name}: {result['error'].strip()}" for name, result in kept.items() if "error" in result]
    if missing := [name for name, result in kept.items() if not result]:
        sections.append(f"not done: {', '.join(missing)}")
    return "\n\n".join(sections) + "\n"


def _file(out: Path, name: str) -> Path:
    return out / f"{name}.json"


def _kept(out: Path, name: str) -> dict:
    path = _file(out, name)
    return json.loads(path.read_text()) if path.exists() else {}


def _keep(path: Path, result: dict[str, object]) -> None:
    write_atomically(path, json.dumps(result))


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("names", nargs="*", metavar="NAME", help=f"only these: {', '.join(PARTS)} (default all)")
    options.add_argument("--out", type=Path, help="where to keep results (default: nowhere)")
    options.add_argument("--nanogpt", type=Path, help="a checkout of karpathy/nanoGPT")
    options.add_argument("--repeats", type=int, default=3, help="pairs with a peer (default 3)")
    options.add_argument("--minutes", type=float, default=9, help="when to stop, in minutes (default 9)")
    given = options.parse_args()
    if unknown := [name for name in given.names if name not in PARTS]:
        options.error(f"{unknown[0]} is none of {', '.join(PARTS)}")
    if given.nanogpt and not given.nanogpt.is_dir():
        options.error(f"--nanogpt {given.nanogpt}: no such folder")
    chosen = {name: PARTS[name] for name in given.names or PARTS}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the part is stopped with all its processes
    with tempfile.TemporaryDirectory() as temporary:
        out = (given.out or Path(temporary)).resolve()
        out.mkdir(parents=True, exist_ok=True)
        nanogpt = given.nanogpt.resolve() if given.nanogpt else None
        setting = Setting(out, nanogpt, 1 if given.quick else given.repeats, given.quick)
        with contextlib.suppress(KeyboardInterrupt):
            measure(chosen, setting, given.minutes)
        print(report(chosen, out), end="")
