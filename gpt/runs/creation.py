"""Creating run folders: two runs never share one, and a folder whose run never started is taken over."""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

from gpt.base.errors import RequestError
from gpt.base.files import is_temporary
from gpt.runs.folder import RunFolder

_BEFORE_START = {".lock", "train.log", "config.yaml", "parent.json", ".worker"}  # written before a run has started


@contextlib.contextmanager
def created(path: Path) -> Iterator[RunFolder]:
    """A new, locked folder at `path`, or `path`_2 and so on if that is taken."""
    for number in itertools.count(1):
        run = RunFolder(path if number == 1 else path.with_name(f"{path.name}_{number}"))
        with contextlib.ExitStack() as stack:
            try:
                run.path.mkdir(parents=True)
            except FileExistsError:
                if not _is_abandoned(run):
                    continue
            try:
                stack.enter_context(run.locked())
            except RequestError:  # another process was quicker
                continue
            if _is_abandoned(run):
                run.remove_temporary_files()
                yield run
                return


@contextlib.contextmanager
def created_at(path: Path) -> Iterator[RunFolder]:
    """The folder at `path` itself, locked; created if it does not exist. Raises RequestError if it holds a run."""
    path.mkdir(parents=True, exist_ok=True)
    run = RunFolder(path)
    with run.locked():
        if run.is_started():
            raise RequestError(f"{path} already holds a run: resume=auto continues it")
        if _is_abandoned(run):
            run.remove_temporary_files()
        yield run


def _is_abandoned(run: RunFolder) -> bool:
    """Whether the folder contains only what a run writes before it has started."""
    if run.path.is_symlink() or not run.path.is_dir() or run.is_started():
        return False
    return all(path.name in _BEFORE_START or is_temporary(path.name) for path in run.path.iterdir())
