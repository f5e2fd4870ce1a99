"""The files that a path names: a file, a folder, a pattern, or a list of these."""

import os
from collections.abc import Iterator, Sequence
from glob import glob
from pathlib import Path

from gpt.base.errors import RequestError, UnavailableError
from gpt.base.paths import expanded
from gpt.config.values import listed


def files_of(path: str | Sequence[str]) -> list[Path]:
    """The files that `path` names: a file, all files below a folder, the matches of a pattern, or a list of these.

    The list may be typed as a text: "[a.txt,b]". Within a folder or a pattern, files are sorted by name and hidden
    files are left out. Raises UnavailableError for a path that names no file, and RequestError for an empty one.
    """
    paths = [path] if isinstance(path, str) else path
    if isinstance(path, str) and path.startswith("[") and path.endswith("]") and not os.path.lexists(path):
        paths = [expanded(each) for each in listed(path)]
    if not paths or "" in paths:
        raise RequestError(f"{path} is a list {'with an empty path' if paths else 'without a path'}")
    try:
        return [file for each in paths for file in _files_of(each)]
    except OSError as error:
        raise RequestError(f"cannot read {error.filename}: {error.strerror}") from None


def _files_of(path: str) -> list[Path]:
    is_folder = Path(path).is_dir()
    if is_folder:
        found = list(_below(path))
    elif os.path.lexists(path):
        found = [Path(path)]
    else:
        names = glob(path, recursive=True)  # noqa: PTH207  # Path.glob takes no absolute patterns
        found = sorted(file for file in map(Path, names) if file.is_file())
    if not found:
        raise UnavailableError(f"there is no file {'in ' if is_folder else ''}{path}")
    return found


def _below(folder: str, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """The files below a folder in the order of their paths, part by part; sorting the paths would be slower.

    Links are followed, except to a folder that they are in.
    """
    above = (*above, os.path.realpath(folder))
    with os.scandir(folder) as entries:
        visible = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in visible:
        if entry.is_dir():
            if os.path.realpath(entry.path) not in above:
                yield from _below(entry.path, above)
        elif entry.is_file():
            yield Path(entry.path)
