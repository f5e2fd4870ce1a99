"""What is wanted of a GPU, in commands of at most ten minutes, each of which continues where the last was cut off.

    python benchmarks/gpu.py --out runs/gpu --nanogpt PATH
    python benchmarks/gpu.py --out runs/gpu speedrun_1 v7_1  # some of it

Each part runs in a process of its own with a time limit, the most valuable first. The result of a part is a small file
in `--out`, and a part that has one is not run again; v7's documented runs are resumed. A part that failed or exceeded
its limit is run again after all others. The report, also kept as report.md, has the rows for docs/results.md,
docs/records.md and docs/benchmarks.md.
"""

import gpt  # noqa: F401  # before torch, as in the scripts: it sets how threads wait

# isort: split
import contextlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

from gpu_parts import PARTS, Part, Setting
from harness import machine, parser
from tabulate import tabulate

from gpt.base.files import write_atomically

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
    "speedrun": "docs/records.md: experiment=speedrun_gpu, to be reached in 15 s",
    "v7": "docs/results.md: v7's documented run, documented at 15 minutes on an A100, 1.0763 train, 1.4873 validation",
    "settings": "docs/benchmarks.md: training",
    "peers": "docs/benchmarks.md: peers",
    "checks": "Checks",
}
_GRACE = 15  # seconds in which a training that is cut off saves a checkpoint


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
