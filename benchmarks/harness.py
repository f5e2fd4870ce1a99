"""The benchmarks' method: alternating measurements, repeated, with the ratio taken pair by pair.

A machine's speed drifts, but two consecutive measurements drift together. So each figure of this project is measured
right after its peer's, and the quoted ratio is the median over the pairs.
"""

import gpt  # noqa: F401  # before torch, as in the scripts: it sets how threads wait

# isort: split
import argparse
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from tabulate import tabulate

from gpt.base.installation import TINY_SHAKESPEARE

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


def table(rows: list[Row]) -> str:
    """The rows as Markdown, under a line that names the machine."""
    headers = ["work", "peer", "peer's median (range)", "this project's", "times better (median of pairs, range)"]
    cells = tabulate([row.cells() for row in rows], headers, tablefmt="github", disable_numparse=True)
    return f"{machine()}\n\n{cells}"


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


def train_command(*arguments: str, checkout: Path = REPOSITORY) -> list[str]:
    """The command that trains with a checkout."""
    return [sys.executable, str(checkout / "train.py"), *arguments]


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


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with --quick."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument(
        "--quick", action="store_true", help="a few iterations, one repeat, small models: only to check that it works"
    )
    return result


def seeds(text: str) -> list[int]:
    """The value of --seeds: 1,2,3."""
    return [int(seed) for seed in text.split(",")]


def arguments(description: str | None, *folders: str, names: Collection[str] = ()) -> argparse.Namespace:
    """The command line of a benchmark: --repeats, --quick, the folders that it needs, and the parts to run.

    If none of the `names` is given, all parts run.
    """
    options = parser(description)
    if names:
        options.add_argument("names", nargs="*", metavar="NAME", help=f"only these: {', '.join(names)} (default all)")
    options.add_argument("--repeats", type=int, default=3, help="counted runs of each side (default 3)")
    for name in folders:
        options.add_argument(f"--{name}", type=Path, help=_FOLDERS[name])
    given = options.parse_args()
    if given.repeats < 1:
        options.error(f"--repeats {given.repeats}: must be at least 1")
    if given.quick:
        given.repeats = 1
    if names:
        unknown = [name for name in given.names if name not in names]
        if unknown:
            options.error(f"{unknown[0]} is none of {', '.join(names)}")
        given.names = given.names or list(names)
    for name in folders:
        path = getattr(given, name)
        if path is None or not path.is_dir():
            print(
                f"--{name} {path or 'is not given'}: {_FOLDERS[name]} is missing, so its part is skipped",
                file=sys.stderr,
            )
            setattr(given, name, None)
        else:
            setattr(given, name, path.resolve())
    return given


def _processor() -> str:
    try:
        return re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()
