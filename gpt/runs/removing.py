"""Removing a run: the files that it wrote, and its folder unless something else is in it."""

import contextlib
import os
import re
from collections.abc import Iterator

from gpt.base.errors import UserError
from gpt.runs.folder import NAMES, RunFolder, is_temporary_of_run

# Relative to the run folder.
_FOLDERS = re.compile(r"checkpoints(/(\d{8,18}|\.new-[0-9a-f]{8}))?|snapshots|tensorboard")
_FILES = re.compile(
    r"\.(worker|(\w+\.)?lock)|checkpoints/[^/]+/(checkpoint\.json|(state|best)\.safetensors)"
    r"|snapshots/(\d{8,18}\.safetensors|\.\d{8,18}\.safetensors\.[0-9a-f]{8})|tensorboard/events\.out\.tfevents\..*",
    re.DOTALL,
)
_LAST = frozenset(["config.yaml", "tokenizer.json", ".lock"])  # until then, a run that is half removed is found again


def remove(run: RunFolder) -> list[str]:
    """Remove a run, whose lock is held, and return what stays in its folder because no run wrote it.

    Raises UserError if the folder is a link, or if a file cannot be removed.
    """
    if run.path.is_symlink():
        raise UserError("it is a link")
    run.lock.check()
    try:
        kept = sorted(_removed(run, ""))
        for name in _LAST.difference(kept):
            (run.path / name).unlink(missing_ok=True)
        if not kept:
            run.path.rmdir()
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}") from None
    return kept


def _removed(run: RunFolder, folder: str) -> Iterator[str]:
    """Remove what a run writes in one of its folders, except the last files, and yield what stays; follow no link."""
    with os.scandir(run.path / folder) as entries:
        found = list(entries)
    for entry in found:
        path = f"{folder}{entry.name}"
        if entry.is_dir(follow_symlinks=False) and _FOLDERS.fullmatch(path):
            yield from _removed(run, f"{path}/")
            with contextlib.suppress(OSError):  # something stays in it
                (run.path / path).rmdir()
        elif not (entry.is_file(follow_symlinks=False) and _is_file_of_run(path)):
            yield path
        elif path not in _LAST:
            (run.path / path).unlink()


def _is_file_of_run(path: str) -> bool:
    is_named = path in NAMES and not _FOLDERS.fullmatch(path)
    return is_named or is_temporary_of_run(path) or _FILES.fullmatch(path) is not None
