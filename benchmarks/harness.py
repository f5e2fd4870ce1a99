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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from tabulate import tabulate

from gpt.base.installation import TINY_SHAKESPEARE
from gpt.runs.folder import RunFolder

REPOSITORY = Path(__file__).parent.parent
DATA = Path(os.environ.get("GPT_DATA_DIR", REPOSITORY / "data")).resolve()  # the folder of downloaded corpora
WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "6000"}  # how OpenMP's threads wait, as `gpt` has them


@dataclass(frozen=True)
class Measured:
    """Figures of this project and of a peer, pair by pair; `theirs` is empty where there is no peer."""

    ours: list[float]
    theirs: list[float]


@dataclass(frozen=True)
class Row:
    """One row of the table: the same work done by a peer and here."""

    work: str
    unit: str
    measured: Measured
    peer: str = "-"
    more_is_better: bool = False

    def cells(self) -> list[str]:
        """The row as text: medians with their range, and how many times better this project is."""
        ours, theirs = self.measured.ours, self.measured.theirs
        if not theirs:
            return [self.work, self.peer, "-", _spread(ours, self.unit), "-"]
        pairs = zip(ours, theirs, strict=True)
        ratios = [a / b if self.more_is_better else b / a for a, b in pairs]
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        return [self.work, self.peer, _spread(theirs, self.unit), _spread(ours, self.unit), ratio]


def _spread(values: list[float], unit: str) -> str:
    digits = 0 if min(values) >= 100 else 2
    low, middle, high = (f"{x:,.{digits}f}" for x in (min(values), statistics.median(values), max(values)))
    return f"{middle} {unit} ({low} to {high})"


HEADERS = ["work", "peer", "peer's median (range)", "this project's", "times better (median of pairs, range)"]


def table(rows: list[Row]) -> str:
    """The rows as Markdown, under a line that names the machine."""
    return f"{machine()}\n\n{markdown(HEADERS, [row.cells() for row in rows])}"


def markdown(headers: list[str], rows: list[list[str]]) -> str:
    """A table whose cells stay as they are."""
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def machine() -> str:
    """The date, the machine and the relevant versions."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{time.strftime('%Y-%m-%d')}, {_processor()}, {os.cpu_count()} cores, {versions}{gpu}"


def alternate(repeats: int, ours: Callable[[], float], theirs: Callable[[], float] | None = None) -> Measured:
    """Measure both in turn, after one run of ours that does not count, to fill all caches, including the compiler's.

    A single pair only shows that the benchmark works, so nothing runs before it.
    """
    measured = Measured([], [])
    if repeats > 1:
        ours()
    for _ in range(repeats):
        if theirs:
            measured.theirs.append(theirs())
        measured.ours.append(ours())
    return measured


def wall_seconds(command: list[str], cwd: Path, settings: Mapping[str, str] = {}) -> float:
    """From the start of a process to its exit; `settings` are added to its environment."""
    started = time.perf_counter()
    output(command, cwd, settings=settings)
    return time.perf_counter() - started


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


def in_new_process(work: Callable[[], float]) -> float:
    """Call a function in a process of its own, with fresh memory, settings and caches."""
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work).result()


def train_command(*arguments: str, checkout: Path = REPOSITORY) -> list[str]:
    """The command that trains with a checkout."""
    return [sys.executable, str(checkout / "train.py"), *arguments]


def trained(folder: Path, *settings: str) -> RunFolder:
    """The run in `folder`, trained with these settings unless it is finished, or resumed if it was interrupted."""
    run = RunFolder(folder)
    if run.is_started() and not run.is_finished():
        output(train_command(f"resume={folder}"), folder.parent)
    elif not run.is_finished():
        output(train_command(*settings, f"hydra.run.dir={folder}", "resume=null"), folder.parent)
    return run


@contextlib.contextmanager
def kept(out: Path | None) -> Iterator[Path]:
    """The folder for what is to be kept, or a temporary one."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = (out or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


def with_constants(script: Path, constants: dict[str, object], folder: Path) -> Path:
    """A peer's script, in `folder` and with its module-level constants set; with the corpus next to it as input.txt."""
    source = script.read_text()
    for name, value in constants.items():
        source, found = re.subn(rf"^{name} = .*$", f"{name} = {value!r}", source, flags=re.MULTILINE)
        if found != 1:
            raise SystemExit(f"{script} has no constant {name}; is it the checkout that is expected?")
    (folder / "input.txt").write_bytes(TINY_SHAKESPEARE.read_bytes())
    changed = folder / script.name
    changed.write_text(source)
    return changed


# What --quick changes in a training run on a text.
QUICK_TRAINING = [
    "training.max_iters=4", "training.eval_interval=2", "training.eval_iters=1", "training.exact_tokens=1000",
]  # fmt: skip

_FOLDERS = {
    "lecture": "a checkout of karpathy/ng-video-lecture",
    "nanogpt": "a checkout of karpathy/nanoGPT",
    "annotated": "a checkout of harvardnlp/annotated-transformer",
    "run": "the folder of a finished run",
}


def documented(stage: str) -> Any:
    """The values of conf/train.yaml with those of the stage."""
    folder = REPOSITORY / "conf"
    return OmegaConf.merge(OmegaConf.load(folder / "train.yaml"), OmegaConf.load(folder / "model" / f"{stage}.yaml"))


def seeds(text: str) -> list[int]:
    """The value of --seeds: 1,2,3."""
    return [int(seed) for seed in text.split(",")]


def arguments(
    description: str | None,
    *folders: str,
    names: Collection[str] = (),
    first: tuple[str, str | None, str] | None = None,
    **more: tuple[Callable[[str], Any], Any, str],
) -> argparse.Namespace:
    """The command line of a benchmark: --repeats, --quick, the folders that it needs, the parts to run, and `more`.

    `first` has the name, default and help of an argument without a name, `more` the type, default and help of each
    option. If none of the `names` is given, all parts run.
    """
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if names:
        options.add_argument("names", nargs="*", metavar="NAME", help=f"only these: {', '.join(names)} (default all)")
    options.add_argument(
        "--quick", action="store_true", help="a few iterations, one repeat, small models: only to check that it works"
    )
    options.add_argument("--repeats", type=int, default=3, help="counted runs of each side (default 3)")
    for name in folders:
        options.add_argument(f"--{name}", type=Path, help=_FOLDERS[name])
    if first is not None:
        name, default, meaning = first
        options.add_argument(name, nargs=None if default is None else "?", default=default, help=meaning)
    for name, (kind, default, meaning) in more.items():
        options.add_argument(f"--{name}", type=kind, default=default, help=f"{meaning} (default {default})")
    given = options.parse_args()
    if given.repeats < 1:
        options.error(f"--repeats {given.repeats}: must be at least 1")
    given.repeats = 1 if given.quick else given.repeats
    if names:
        if unknown := [name for name in given.names if name not in names]:
            options.error(f"{unknown[0]} is none of {', '.join(names)}")
        given.names = given.names or list(names)
    for name in folders:
        path = getattr(given, name)
        is_there = path is not None and path.is_dir()
        setattr(given, name, path.resolve() if is_there else None)
        if not is_there:
            what = f"--{name} {path or 'is not given'}: {_FOLDERS[name]} is missing, so its part is skipped"
            print(what, file=sys.stderr)
    return given


def _processor() -> str:
    try:
        return re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()
