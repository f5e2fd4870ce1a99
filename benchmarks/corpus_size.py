"""How the cost of a run grows with the size of its text, from a megabyte to ten gigabytes.

    python benchmarks/corpus_size.py FOLDER                       # the files of this folder, one after the other
    python benchmarks/corpus_size.py FOLDER --nanogpt PATH        # and nanoGPT's preparation of the same text
    python benchmarks/corpus_size.py FOLDER --sizes 1,100 --out runs/sizes

Each size is one file, the first megabytes of all files of FOLDER, again from the beginning if they are not enough. It
is split into bytes (`--tokenizer` has other ways). A start is the time of a whole process that takes one step. Peak
memory is the process's own; mapped pages, which the system can drop, are not in it. Linux only.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import arguments, machine, markdown, output, train_command, wall_seconds
from matplotlib.figure import Figure

from gpt.base.installation import TINY_SHAKESPEARE
from gpt.base.pictures import write_picture
from gpt.data.sources import files_of
from gpt.runs.folder import RunFolder

_MB = 10**6
_ONE_STEP = ["training.max_iters=1", "training.eval_interval=1", "training.eval_iters=1", "training.exact_tokens=1000"]
_STAGES = {"model=v5": 400, "experiment=v7_cpu": 20}  # iterations to time
_NANOGPT = "data/shakespeare_char/prepare.py"


@dataclass
class Cost:
    """What one size of text costs; seconds, unless the name says otherwise."""

    megabytes: float
    preparing: float  # what the first start takes longer than the later ones
    later_start: float  # the median
    peak_megabytes: float  # of the first start
    tokens_per_second: list[float]  # of each stage
    exact_loss: float
    nanogpt: float | None = None  # to prepare the text


def main() -> None:
    """Measure each size, and print the table."""
    given = arguments(
        __doc__, first=("folder", None, "the text: all files below this folder"),
        sizes=(str, "1,100,1000,10000", "in megabytes"), tokenizer=(str, "bytes", "characters, bytes or subwords"),
        nanogpt=(Path, None, "a checkout of karpathy/nanoGPT"),
        out=(Path, None, "where to write the picture, as corpus_size.png"),
    )  # fmt: skip
    data = ["data=text", f"data.tokenizer={given.tokenizer}"]
    costs = [_measured(None, ["data.tokenizer=" + given.tokenizer], quick=given.quick)]
    for megabytes in [0.05] if given.quick else map(float, given.sizes.split(",")):
        with tempfile.TemporaryDirectory(dir=given.out) as name:
            file = Path(name, "text.txt")
            _assemble(Path(given.folder), file, round(megabytes * _MB))
            costs.append(_measured(file, [*data, f"data.path={file}"], quick=given.quick))
            if given.nanogpt is not None:
                costs[-1].nanogpt = _nanogpt(given.nanogpt, file)
        print(f"{megabytes:g} MB is done", file=sys.stderr, flush=True)
    print(_table(costs))
    if given.out is not None:
        _draw(costs[1:], given.out / "corpus_size.png")


def _assemble(folder: Path, file: Path, size: int) -> None:
    """The first `size` bytes of the files of a folder, one after the other, again and again."""
    with file.open("wb") as target:
        for content in _contents(folder):
            target.write(content[: size - target.tell()])
            if target.tell() == size:
                return


def _contents(folder: Path) -> Iterator[bytes]:
    """Without what is not UTF-8, which nanoGPT does not read."""
    while True:
        for path in files_of(str(folder)):
            yield path.read_bytes().decode(errors="ignore").encode() + b"\n"


def _measured(file: Path | None, data: list[str], *, quick: bool) -> Cost:
    """The cost of a text, or of tiny Shakespeare, with empty folders for what is prepared."""
    with tempfile.TemporaryDirectory(dir=file and file.parent) as name:
        folder, own = Path(name), {"GPT_DATA_DIR": name} if file else {}
        start = train_command("model=v5", "device=cpu", *data, *_ONE_STEP)
        first_start, peak = _with_memory(start, folder, own)
        later_start = statistics.median(wall_seconds(start, folder, own) for _ in range(1 if quick else 5))
        speeds = []
        for choice, iterations in _STAGES.items():
            steps = [f"training.max_iters={2 if quick else iterations}", "training.eval_interval=1000000"]
            steps += ["schedule.warmup_iters=0", *(["model.n_embd=8", "model.n_head=2"] if quick else [])]
            place = folder / choice
            settings = [choice, "device=cpu", *data, *_ONE_STEP, *steps, f"hydra.run.dir={place}", "resume=null"]
            output(train_command(*settings), folder, settings=own)
            speeds.append(RunFolder(place).summary().tokens_per_second)
        exact = [*start, "training.exact_tokens=null" if quick else "training.exact_tokens=5000000"]
        exact_loss = wall_seconds(exact, folder, own) - later_start
        size = (file or TINY_SHAKESPEARE).stat().st_size
        return Cost(size / _MB, max(first_start - later_start, 1e-9), later_start, peak, speeds, exact_loss)


def _with_memory(command: list[str], folder: Path, settings: dict[str, str]) -> tuple[float, float]:
    """The seconds of a process and the peak of its own memory in megabytes, read 50 times a second."""
    script = (
        "import pathlib, subprocess, sys, time; process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)\n"
        "status, peak, started = pathlib.Path(f'/proc/{process.pid}/status'), 0, time.perf_counter()\n"
        "while process.poll() is None:\n"
        "    lines = dict(line.split(':', 1) for line in status.read_text().splitlines())\n"
        "    peak = max(peak, int(lines.get('RssAnon', '0 kB').split()[0]))\n"
        "    time.sleep(0.02)\n"
        "print(time.perf_counter() - started, peak * 1024, process.returncode)"
    )
    seconds, peak, code = output([sys.executable, "-c", script, *command], folder, settings=settings).split()
    if int(code):
        raise SystemExit(f"{' '.join(command)} failed")
    return float(seconds), float(peak) / _MB


def _nanogpt(checkout: Path, file: Path) -> float | None:
    """The seconds of nanoGPT's preparation of characters; None if it needs three quarters of the memory."""
    limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4
    with tempfile.TemporaryDirectory(dir=file.parent) as name:
        shutil.copy(checkout / _NANOGPT, name)
        Path(name, "input.txt").symlink_to(file)
        started = time.perf_counter()
        done = subprocess.run(
            ["prlimit", f"--as={limit}", sys.executable, "prepare.py"], cwd=name, capture_output=True, check=False
        )
        return time.perf_counter() - started if done.returncode == 0 else None


def _table(costs: list[Cost]) -> str:
    headers = ["text", "preparing", "MB/s", "later start", "peak memory"]
    headers += [*(f"{name.partition('=')[2]}, tokens/s" for name in _STAGES), "exact loss", "nanoGPT preparing"]
    rows = [
        [
            f"{cost.megabytes:,.1f} MB" if i else "tiny Shakespeare",
            f"{cost.preparing:.1f} s" if i else "-",
            f"{cost.megabytes / cost.preparing:.0f}" if i else "-",
            f"{cost.later_start:.1f} s",
            f"{cost.peak_megabytes:.0f} MB",
            *(f"{speed:,.0f}" for speed in cost.tokens_per_second),
            f"{cost.exact_loss:.1f} s",
            "-" if cost.nanogpt is None else f"{cost.nanogpt:.1f} s",
        ]
        for i, cost in enumerate(costs)
    ]
    return f"{machine()}\n\n{markdown(headers, rows)}"


def _draw(costs: list[Cost], path: Path) -> None:
    """Seconds and memory against the size of the text."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    seconds, memory = figure.subplots(1, 2)
    sizes = [cost.megabytes for cost in costs]
    seconds.plot(sizes, [cost.preparing for cost in costs], "o-", label="preparing, once")
    seconds.plot(sizes, [cost.later_start for cost in costs], "o-", label="a later start")
    seconds.plot(sizes, [cost.exact_loss for cost in costs], "o-", label="exact loss, 5 million targets at most")
    if known := [(cost.megabytes, cost.nanogpt) for cost in costs if cost.nanogpt is not None]:
        seconds.plot(*zip(*known, strict=True), "o--", color="grey", label="nanoGPT, preparing")
    seconds.set(xlabel="text (MB)", ylabel="seconds", xscale="log", yscale="log")
    seconds.legend()
    memory.plot(sizes, [cost.peak_megabytes for cost in costs], "o-", label="peak memory of the first start")
    memory.set(xlabel="text (MB)", ylabel="MB", xscale="log", ylim=(0, None))
    memory.legend()
    for axes in (seconds, memory):
        axes.grid(alpha=0.3)
    write_picture(path, figure)


if __name__ == "__main__":
    main()
