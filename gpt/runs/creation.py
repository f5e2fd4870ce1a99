"""Creating run folders: two runs never share one, and a folder whose run never started is taken over."""

import contextlib
import itertools
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from gpt.base.errors import RequestError, UnavailableError, UserError
from gpt.base.paths import expanded
from gpt.config.command import Command
from gpt.config.schema import TrainConfig
from gpt.config.values import as_typed, unquoted
from gpt.runs.folder import RunFolder


def own_folder(command: Command) -> Path | None:
    """The folder that a command gives its run. Raises RequestError if that is empty."""
    if command.job is not None or "hydra.run.dir" not in command.settings:
        return command.job.folder if command.job else None
    typed = unquoted(as_typed(command.settings["hydra.run.dir"]))
    if typed in ("", "???"):
        raise RequestError("hydra.run.dir= is empty: name a folder")
    return Path(expanded(typed))


def usual_folder(config: TrainConfig, command: Command) -> Path:
    """The folder of a new run: below `runs`, by date and time, or in the folder of its sweep."""
    name = "_".join([config.stage, *([config.name] if config.name else []), f"seed{config.seed}"])
    if command.job is not None:
        return command.job.sweep / f"{command.job.number:03d}_{name}"
    return Path(config.runs, f"{datetime.now():%Y-%m-%d/%H-%M-%S}_{name}")


@contextlib.contextmanager
def created(path: Path) -> Iterator[RunFolder]:
    """A new, locked folder at `path`, or `path`_2 and so on if that is taken; its ending is "starting"."""
    for number in itertools.count(1):
        run = RunFolder(path if number == 1 else path.with_name(f"{path.name}_{number}"))
        with contextlib.ExitStack() as stack:
            is_claimed = False
            with contextlib.suppress(UnavailableError):  # Another process was quicker.
                is_claimed = _claim(run, stack)
            if is_claimed:
                yield run
                return


@contextlib.contextmanager
def created_at(path: Path) -> Iterator[RunFolder]:
    """A new, locked folder at `path` itself. Raises RequestError unless it is absent or free."""
    run = RunFolder(path)
    with contextlib.ExitStack() as stack:
        if not _claim(run, stack):
            if run.is_started():
                raise RequestError(f"{path} holds a run: resume=auto continues it, if it has the same settings")
            raise RequestError(f"{path} is not empty: choose another folder")
        yield run


def _claim(run: RunFolder, stack: contextlib.ExitStack) -> bool:
    """Whether the folder is free, and now created and locked. Raises UnavailableError if a process writes it."""
    try:
        run.path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        return False
    if not _is_free(run):  # Look before locking, so that a folder of something else gets no lock file.
        return False
    stack.enter_context(run.locked())
    if not _is_free(run):
        return False
    run.remove_temporary_files()
    run.create_record()
    return True


def _is_free(run: RunFolder) -> bool:
    """Whether the folder is empty, or holds a run that was killed before it started."""
    if all(path.name == ".lock" for path in run.path.iterdir()):
        return True
    with contextlib.suppress(UserError):
        return run.record().ending == "starting" and not run.is_started()
    return False
