"""How the cost of a run grows with the size of its text, from a megabyte to ten gigabytes.

    python benchmarks/corpus_size.py FOLDER                       # the files of this folder, one after the other
    python benchmarks/corpus_size.py FOLDER --nanogpt PATH        # and nanoGPT's preparation of the same text
    python benchmarks/corpus_size.py FOLDER --sizes 1,100         # in megabytes

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
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from harness import machine, markdown, output, parser, seconds_of, train_command, trained, wall_seconds

from gpt.base.installation import TINY_SHAKESPEARE
from gpt.data.paths import files_of

_MB = 10**6
_ONE_STEP = ["training.max_iters=1", "training.eval_interval=1", "training.eval_iters=1", "training.exact_tokens=1000"]
_STAGES = {"model=v5": 400, "experiment=v7_cpu": 20}  # iterations to time
_WATCHED = """
import pathlib, subprocess, sys, time
started, process, peak = time.perf_counter(), subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL), 0
while process.poll() is None:
    status = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines())
    peak = max(peak, int(status.get("RssAnon", "0 kB").split()[0]))
    time.sleep(0.02)
print(time.perf_counter() - started, peak * 1024)
sys.exit(process.returncode)
"""


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
    options = parser(__doc__, "nanogpt")
    options.add_argument("folder", type=Path, help="the text: all files below this folder")
    options.add_argument("--sizes", default="1,100,1000,10000", help="in megabytes (default %(default)s)")
    options.add_argument("--tokenizer", default="bytes", help="characters, bytes or subwords (default bytes)")
    given = options.parse_args()
    tokenizer = f"data.tokenizer={given.tokenizer}"
    costs = [_measured(None, [tokenizer], quick=given.quick)]
    for megabytes in [0.05] if given.quick else map(float, given.sizes.split(",")):
        with tempfile.TemporaryDirectory() as name:
            file = Path(name, "text.txt")
            _assemble(given.folder, file, round(megabytes * _MB))
            costs.append(_measured(file, ["data=text", tokenizer, f"data.path={file}"], quick=given.quick))
            if given.nanogpt is not None:
                costs[-1].nanogpt = _nanogpt(given.nanogpt, file)
        print(f"{megabytes:g} MB is done", file=sys.stderr, flush=True)
    print(_table(costs))


def _assemble(folder: Path, file: Path, size: int) -> None:
    """The first `size` bytes of the files of a folder, again and again, without what is not UTF-8, as nanoGPT needs."""
    with file.open("wb") as target:
        for path in cycle(files_of(str(folder))):
            content = path.read_bytes().decode(errors="ignore").encode() + b"\n"
            target.write(content[: size - target.tell()])
            if target.tell() == size:
                return


def _measured(file: Path | None, data: list[str], *, quick: bool) -> Cost:
    """The cost of a text, or of tiny Shakespeare, with empty folders for what is prepared."""
    with tempfile.TemporaryDirectory(dir=file and file.parent) as name:
        folder, own = Path(name), {"GPT_DATA_DIR": name} if file else {}
        start = train_command("model=v5", "device=cpu", *data, *_ONE_STEP)
        first_start, peak = map(float, output([sys.executable, "-c", _WATCHED, *start], folder, settings=own).split())
        later_start = statistics.median(wall_seconds(start, folder, own) for _ in range(1 if quick else 5))
        speeds = []
        for choice, iterations in _STAGES.items():
            steps = [f"training.max_iters={2 if quick else iterations}", "training.eval_interval=1000000"]
            steps += ["schedule.warmup_iters=0", *(["model.n_embd=8", "model.n_head=2"] if quick else [])]
            run = trained(folder / choice, choice, "device=cpu", *data, *_ONE_STEP, *steps, environment=own)
            speeds.append(run.summary().tokens_per_second)
        exact = [*start, "training.exact_tokens=null" if quick else "training.exact_tokens=5000000"]
        exact_loss = wall_seconds(exact, folder, own) - later_start
        size = (file or TINY_SHAKESPEARE).stat().st_size / _MB
        return Cost(size, max(first_start - later_start, 1e-9), later_start, peak / _MB, speeds, exact_loss)


def _nanogpt(checkout: Path, file: Path) -> float | None:
    """The seconds of nanoGPT's preparation of characters; None if it needs three quarters of the memory."""
    limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4
    with tempfile.TemporaryDirectory(dir=file.parent) as name:
        shutil.copy(checkout / "data" / "shakespeare_char" / "prepare.py", name)
        Path(name, "input.txt").symlink_to(file)
        command = ["prlimit", f"--as={limit}", sys.executable, "prepare.py"]
        try:
            return seconds_of(lambda: subprocess.run(command, cwd=name, capture_output=True, check=True))
        except subprocess.CalledProcessError:
            return None


def _table(costs: list[Cost]) -> str:
    headers = ["text", "preparing", "MB/s", "later start", "peak memory"]
    headers += [*(f"{name.partition('=')[2]}, tokens/s" for name in _STAGES), "exact loss", "nanoGPT preparing"]
    rows = []
    for cost in costs:
        first = [f"{cost.megabytes:,.1f} MB", f"{cost.preparing:.1f} s", f"{cost.megabytes / cost.preparing:.0f}"]
        rows.append(
            [
                *(["tiny Shakespeare", "-", "-"] if cost is costs[0] else first),
                f"{cost.later_start:.1f} s",
                f"{cost.peak_megabytes:.0f} MB",
                *(f"{speed:,.0f}" for speed in cost.tokens_per_second),
                f"{cost.exact_loss:.1f} s",
                "-" if cost.nanogpt is None else f"{cost.nanogpt:.1f} s",
            ]
        )
    return f"{machine()}\n\n{markdown(headers, rows)}"


if __name__ == "__main__":
    main()
