"""Creating run folders: two runs never share one, and a folder whose run never started is taken over."""

import contextlib
import itertools
import stat
from collections.abc import Iterator
from pathlib import Path

from gpt.base.errors import RequestError, UserError
from gpt.runs.folder import NAMES, RunFolder, is_temporary_of_run

_LOCKS = {".lock", ".worker"}  # empty files; one with content is not a run's
_BEFORE_START = {"state.json", "train.log", "config.yaml", "parent.json"}  # written before a run has started


@contextlib.contextmanager
def created(path: Path) -> Iterator[RunFolder]:
    """A new, locked folder at `path`, or `path`_2 and so on if that is taken; its state is that it is starting."""
    for number in itertools.count(1):
        run = RunFolder(path if number == 1 else path.with_name(f"{path.name}_{number}"))
        with contextlib.ExitStack() as stack:
            try:
                run.path.mkdir(parents=True)
            except FileExistsError:
                if run.path.is_symlink() or not run.path.is_dir() or _kept(run):
                    continue
            try:
                stack.enter_context(run.locked())
            except RequestError:  # another process was quicker
                continue
            if not _kept(run):
                _begin(run)
                yield run
                return


@contextlib.contextmanager
def created_at(path: Path) -> Iterator[RunFolder]:
    """The folder at `path` itself, locked, created if it does not exist; its state is that it is starting.

    Raises RequestError if it holds anything under a name that a run writes: nothing is ever written over.
    """
    path.mkdir(parents=True, exist_ok=True)
    run = RunFolder(path)
    _check_free(run)  # before there is a lock in it
    with run.locked():
        _check_free(run)
        _begin(run)
        yield run


def _begin(run: RunFolder) -> None:
    """Remove what a run that never started left behind, and mark the folder as that of a run that has not started."""
    run.write_ending("starting")
    for name in _BEFORE_START - {"state.json"}:
        (run.path / name).unlink(missing_ok=True)
    run.remove_temporary_files()


def _check_free(run: RunFolder) -> None:
    if run.is_started():
        raise RequestError(f"{run.path} already holds a run: resume=auto continues it")
    if kept := sorted(_kept(run) & (NAMES | _LOCKS)):
        raise RequestError(
            f"{run.path} holds {', '.join(kept)}, which a new run would replace: choose another folder, or move them"
        )


def _kept(run: RunFolder) -> set[str]:
    """The contents of the folder, except what a run killed before it started left behind."""
    own = set()
    for name in _LOCKS:
        with contextlib.suppress(FileNotFoundError):
            status = (run.path / name).lstat()
            own |= {name} if stat.S_ISREG(status.st_mode) and status.st_size == 0 else set()
    with contextlib.suppress(UserError):  # a state.json that is not a run's
        own |= _BEFORE_START if run.ending() == "starting" and not run.is_started() else set()
    return {p.name for p in run.path.iterdir() if p.name not in own and not is_temporary_of_run(p.name)}
