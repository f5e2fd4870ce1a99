"""What the fault tests share: trainings to start and stop, and what a run leaves."""

import hashlib
from collections.abc import Container
from pathlib import Path

from tests.conftest import REPOSITORY, small_corpus
from tests.forked import Forked
from tests.results import content

_RESULTS = ("metrics.jsonl", "best.safetensors", "last.safetensors", "averaged.safetensors", "sample.txt")


def start(*arguments: str, cwd: Path) -> Forked:
    """Start a training on a small corpus in `cwd`."""
    corpus = cwd / "corpus.txt"
    if not corpus.exists():
        corpus.write_text(small_corpus())
    return Forked([str(REPOSITORY / "train.py"), "data=text", f"data.path={corpus}", *arguments], cwd)


def finish(process: Forked) -> tuple[int, str]:
    """Its exit code and errors."""
    done = process.finished()
    return done.returncode, done.stderr


def whole_run(folder: Path, *arguments: str) -> Path:
    """An uninterrupted run."""
    folder.mkdir(parents=True)
    code, err = finish(start(*arguments, cwd=folder))
    assert code == 0, err
    return runs_in(folder)[0]


def is_one_line(err: str) -> bool:
    """Whether this is how a process fails or is stopped."""
    lines = [line for line in err.splitlines() if line.startswith(("error: ", "stopped"))]
    return len(lines) == 1 and "Traceback" not in err


def runs_in(folder: Path) -> list[Path]:
    """The runs below `folder` that have started."""
    return sorted(path.parent for path in folder.rglob("tokenizer.json"))


def differences(whole: Path, other: Path, dispensable: Container[str] = ()) -> list[str]:
    """Which results of two runs are not the same, or are only in one of them."""
    one, two = ({n: content(run / n) for n in _RESULTS if (run / n).is_file()} for run in (whole, other))
    return [name for name in _RESULTS if one.get(name) != two.get(name) and name not in dispensable]


def tree(folder: Path) -> dict[str, str]:
    """Everything below a folder: what it is, and the digest of a file's content."""

    def described(path: Path) -> str:
        if path.is_symlink():
            return f"link to {path.readlink()}"
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"

    return {str(path.relative_to(folder)): described(path) for path in sorted(folder.rglob("*"))}
