"""The files of a run's corpus: which of them are safe to open if the run comes from another machine or a stranger."""

import glob
import hashlib
import inspect
import itertools
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from gpt.base.choices import Choice, PathName, PathNames
from gpt.base.errors import RequestError
from gpt.data.corpora import LOADER
from gpt.data.sources import paths_of

_PATHS = (PathName, PathNames, PathNames | None)


def fingerprints(data: Choice) -> dict[str, str]:
    """Fingerprints that identify a loader's files on this machine, by hyperparameter, without opening them."""
    found = {name: _fingerprint(data.hyperparameters.get(name)) for name in _paths(data)}
    return {name: fingerprint for name, fingerprint in found.items() if fingerprint is not None}


def located(data: Choice, known: Mapping[str, str], own: Mapping[str, Any], given: Collection[str]) -> Choice:
    """The loader of a run, with paths that are safe to open: a stranger's run could name any file on this machine.

    These are the paths that the user has `given`, as keys such as data.path; else the run's, if the file there has the
    fingerprint `known` to the run, which a stranger cannot guess; else the user's `own` default. Raises RequestError if
    none of these exists.
    """
    content = data.model_dump(by_alias=True)
    for name in _paths(data):
        path = content.get(name)
        if path is None:  # not this kind of corpus
            continue
        fingerprint = None if f"data.{name}" in given else _fingerprint(path)
        if fingerprint is not None and fingerprint == known.get(name):
            continue
        if isinstance(own.get(name), str | list):
            content[name] = own[name]
        else:
            option = shlex.quote(f"data.{name}={path}")
            raise RequestError(
                f"{path} is missing, or is not the file that the run was trained on; to use it anyway, add {option} "
                "(train.py needs the group too, such as data=text)"
            )
    return Choice.model_validate(content)


def _paths(data: Choice) -> list[str]:
    parameters = inspect.signature(LOADER.find(data), eval_str=True).parameters
    return [name for name, parameter in parameters.items() if parameter.annotation in _PATHS]


def _fingerprint(path: Any) -> str | None:
    """Of a file, of a folder by itself, of the folder that a pattern starts from, or of several of these."""
    try:
        stated = [_existing(Path(each)).stat() for each in paths_of(path)]
    except (OSError, TypeError, ValueError):
        return None
    described = (f"{status.st_ino} {status.st_size} {status.st_mtime_ns}" for status in stated)
    return hashlib.sha256(" ".join(described).encode()).hexdigest()


def _existing(path: Path) -> Path:
    """The path, or the part of a pattern before its first wildcard."""
    fixed = list(itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
    return path if path.exists() or len(fixed) == len(path.parts) else Path(*fixed)
