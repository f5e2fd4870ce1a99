"""The benchmarks' method: alternating measurements, repeated, with the ratio taken pair by pair.

A machine's speed drifts, but two consecutive measurements drift together. So each figure of this project is measured
right after its peer's, and the quoted ratio is the median over the pairs.
"""

import gpt  # noqa: F401  # before torch, as in the scripts: it sets how threads wait

# isort: split
import argparse
import contextlib
import multiprocessing
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from tabulate import tabulate

from gpt.runs.folder import RunFolder

REPOSITORY = Path(__file__).parent.parent
DATA = Path(os.environ.get("GPT_DATA_DIR", REPOSITORY / "data")).resolve()  # the folder of downloaded corpora
WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "6000"}  # how OpenMP's threads wait, as `gpt` has them
# What --quick changes in a training run on a text.
QUICK_TRAINING = [
    "training.max_iters=4",
    "training.eval_interval=2",
    "training.eval_iters=1",
    "training.exact_tokens=1000",
]
_FOLDERS = {
    "lecture": "a checkout of karpathy/ng-video-lecture",
    "nanogpt": "a checkout of karpathy/nanoGPT",
    "annotated": "a checkout of harvardnlp/annotated-transformer",
    "run": "the folder of a finished run of model=transformer",
}
Measure = Callable[[], float]
_Result = TypeVar("_Result")


def parser(
    description: str | None, *folders: str, names: Collection[str] = (), keeps: str = ""
) -> argparse.ArgumentParser:
    """The options that benchmarks share; with `names`, of the parts to run, and with `--out` if one `keeps` something.

    Without one of the folders, what needs it is left out.
    """
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if names:
        choices = [*names, []]  # [] for none, which older versions of argparse check, too
        options.add_argument("names", nargs="*", choices=choices, metavar="NAME", help=f"of {', '.join(names)}; or all")
    options.add_argument(
        "--quick", action="store_true", help="a few iterations, one repeat, small models: only to check that it works"
    )
    options.add_argument("--repeats", type=int, default=3, help="counted runs of each side (default 3)")
    for name in folders:
        options.add_argument(f"--{name}", type=_folder, help=f"{_FOLDERS[name]}; without it, its part is left out")
    if keeps:
        options.add_argument("--out", type=Path, help=f"a folder for {keeps}")
    return options


def _folder(text: str) -> Path:
    path = Path(text).resolve()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    return path


@dataclass(frozen=True)
class Row:
    """One row of the table: the same work done by a peer and here, pair by pair; `theirs` is empty without a peer."""

    work: str
    unit: str  # more is better if it is one per second
    ours: list[float]
    peer: str = "-"
    theirs: list[float] = field(default_factory=list)

    def cells(self) -> list[str]:
        """The row as text: medians with their range, and how many times better this project is."""
        if not self.theirs:
            return [self.work, self.peer, "-", self._spread(self.ours), "-"]
        pairs = zip(self.ours, self.theirs, strict=True)
        ratios = [ours / theirs if self.unit.endswith("/s") else theirs / ours for ours, theirs in pairs]
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        return [self.work, self.peer, self._spread(self.theirs), self._spread(self.ours), ratio]

    def _spread(self, values: list[float]) -> str:
        digits = 0 if min(values) >= 100 else 2
        low, middle, high = (f"{x:,.{digits}f}" for x in (min(values), statistics.median(values), max(values)))
        return f"{middle} {self.unit} ({low} to {high})"


def compared(
    given: argparse.Namespace, work: str, unit: str, ours: Measure, peer: str = "-", theirs: Measure | None = None
) -> Row:
    """Measure both in turn, after one run of ours that does not count, to fill all caches, including the compiler's.

    A single pair only shows that the benchmark works, so nothing runs before it.
    """
    row = Row(work, unit, [], peer)
    if not given.quick and given.repeats > 1:
        ours()
    for _ in range(1 if given.quick else given.repeats):
        if theirs:
            row.theirs.append(theirs())
        row.ours.append(ours())
    return row


def table(rows: list[Row]) -> str:
    """The rows as Markdown, under a line that names the machine."""
    headers = ["work", "peer", "peer's median (range)", "this project's", "times better (median of pairs, range)"]
    return f"{machine()}\n\n{markdown(headers, [row.cells() for row in rows])}"


def markdown(headers: list[str], rows: list[list[str]]) -> str:
    """A table whose cells stay as they are."""
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def machine() -> str:
    """The date, the machine and the relevant versions."""
    cpus = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.*)", cpus.read_text()) if cpus.exists() else None
    processor = named[1] if named else platform.processor() or platform.machine()
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{time.strftime('%Y-%m-%d')}, {processor}, {os.cpu_count()} cores, {versions}{gpu}"


def mean_of(values: list[float], digits: int) -> str:
    """Their mean and, of several, their standard deviation."""
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{deviation}"


def seconds_of(work: Callable[[], object]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def wall_seconds(command: list[str], cwd: Path, settings: Mapping[str, str] = {}) -> float:
    """From the start of a process to its exit; `settings` are added to its environment."""
    return seconds_of(lambda: output(command, cwd, settings=settings))


def output(command: list[str], cwd: Path, checkout: Path = REPOSITORY, settings: Mapping[str, str] = {}) -> str:
    """Run a process that imports `gpt` from a checkout, and return its standard output."""
    # Importing `gpt` here has set how threads wait; a peer's threads wait as they would without it.
    own = {name: value for name, value in os.environ.items() if WAITING.get(name) != value}
    paths = [str(checkout), *filter(None, [os.environ.get("PYTHONPATH")])]  # before the user's own
    project = {"GPT_DATA_DIR": str(DATA), "PYTHONPATH": os.pathsep.join(paths)}
    environment = own | project | dict(settings)
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout


def in_new_process(work: Callable[[], _Result]) -> _Result:
    """Call a function in a process of its own, with fresh memory, settings and caches."""
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work).result()


def train_command(*arguments: str, checkout: Path = REPOSITORY) -> list[str]:
    """The command that trains with a checkout."""
    return [sys.executable, str(checkout / "train.py"), *arguments]


def trained(folder: Path, *settings: str, environment: Mapping[str, str] = {}) -> RunFolder:
    """The run in `folder`, trained with these settings unless it is finished, or resumed if it was interrupted."""
    run = RunFolder(folder)
    if not run.is_finished():
        begin = [f"resume={folder}"] if run.is_started() else [*settings, f"hydra.run.dir={folder}", "resume=null"]
        output(train_command(*begin), folder.parent, settings=environment)
    return run


@contextlib.contextmanager
def kept(out: Path | None = None) -> Iterator[Path]:
    """The folder for what is to be kept, or a temporary one."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = (out or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
