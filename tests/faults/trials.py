"""What the fault tests share: repeated trials, trainings to start and stop, and what a run leaves."""

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Container, Iterable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, small_corpus
from tests.forked import FORKSERVER, Forked

Trial = Callable[[int, Path], Iterable[str]]  # its number, an empty folder -> what went wrong

_RESULTS = ("metrics.jsonl", "best.safetensors", "last.safetensors", "averaged.safetensors", "sample.txt")
STAGES = {
    "v1": ["model=v1"],
    "v5": ["model=v5"],
    "v7": ["model=v7", "model.block_size=16", "model.n_embd=32", "model.n_head=4", "model.n_layer=2"],
}


def repeated(quick: int, slow: int, full: int) -> pytest.MarkDecorator:
    """How often a fault is inflicted: by `pytest`, if at all, by `pytest -m slow`, and by that with FAULTS=full."""
    more = full if os.environ.get("FAULTS") == "full" else slow
    cases = [pytest.param(quick, id="few")] if quick else []
    return pytest.mark.parametrize("count", [*cases, pytest.param(more, id="many", marks=pytest.mark.slow)])


def check(trial: Trial, count: int, folder: Path, prepare: Callable[[], None] | None = None) -> None:
    """Do `count` trials, two at a time, in threads or, if these need to be prepared, in processes."""
    one = partial(_one, trial, folder)
    if prepare is None:
        with ThreadPoolExecutor(2) as pool:
            wrong = [*chain.from_iterable(pool.map(one, range(count)))]
    else:
        with ProcessPoolExecutor(2, FORKSERVER, prepare) as processes:
            wrong = [*chain.from_iterable(processes.map(one, range(count), chunksize=-(-count // 2)))]
    assert not wrong, "\n".join(wrong)


def _one(trial: Trial, folder: Path, number: int) -> list[str]:
    place = folder / f"trial_{number}"
    place.mkdir()
    wrong = [f"trial {number}: {what}" for what in trial(number, place)]
    shutil.rmtree(place)
    return wrong


def short(iterations: int) -> list[str]:
    """Settings of a run with a checkpoint at every tenth iteration, so that most kills find one being written."""
    return [
        "training.eval_interval=50", "training.eval_iters=2", "training.batch_size=8", "checkpoint.interval=10",
        "checkpoint.min_seconds=0", "device=cpu", f"training.max_iters={iterations}",
    ]  # fmt: skip


def command(*arguments: str, cwd: Path) -> list[str]:
    """train.py with these arguments, on a small corpus in `cwd` unless they name another."""
    corpus = cwd / "corpus.txt"
    if not corpus.exists():
        corpus.write_text(small_corpus())
    return [str(REPOSITORY / "train.py"), "data=text", f"data.path={corpus}", *arguments]


def start(*arguments: str, cwd: Path, environment: dict[str, str] | None = None) -> Forked:
    """Start a training."""
    return Forked(command(*arguments, cwd=cwd), cwd, environment)


def finish(process: Forked) -> tuple[int, str, str]:
    """Its exit code, output and errors."""
    done = process.finished()
    return done.returncode, done.stdout, done.stderr


def whole_run(folder: Path, *arguments: str) -> tuple[Path, float]:
    """An uninterrupted run, and its seconds."""
    folder.mkdir(parents=True)
    started = time.perf_counter()
    code, _, err = finish(start(*arguments, cwd=folder))
    assert code == 0, err
    return runs_in(folder)[0], time.perf_counter() - started


def one_line(code: int, err: str, *codes: int) -> list[str]:
    """What is wrong with how a process failed or was stopped."""
    lines = [line for line in err.splitlines() if line.startswith(("error: ", "stopped"))]
    is_right = code in codes and len(lines) == 1 and "Traceback" not in err
    return [] if is_right else [f"exit code {code}, {err[-300:]!r}"]


def runs_in(folder: Path) -> list[Path]:
    """The runs below `folder` that have started."""
    return sorted(path.parent for path in folder.rglob("tokenizer.json"))


def differences(whole: Path, other: Path, dispensable: Container[str] = ()) -> list[str]:
    """Which results of two runs are not the same bytes, or are only in one of them."""
    one, two = tree(whole), tree(other)
    return [f"{name} differs" for name in _RESULTS if one.get(name) != two.get(name) and name not in dispensable]


def tree(folder: Path) -> dict[str, str]:
    """Everything below a folder: what it is, and the digest of a file's content."""

    def described(path: Path) -> str:
        if path.is_symlink():
            return f"link to {path.readlink()}"
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"

    return {str(path.relative_to(folder)): described(path) for path in sorted(folder.rglob("*"))}
