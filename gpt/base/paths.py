"""Paths as users type them."""

import os


def expanded(path: str) -> str:
    """A path that starts with ~ or ~USER, in that user's home folder; any other path, such as ./~, is returned."""
    return os.path.expanduser(path)  # noqa: PTH111  # Path.expanduser raises an error for an unknown user


def is_path(typed: str) -> bool:
    """Whether it is taken as a path, and not as the name of a run: it has a slash, or something is there."""
    return os.sep in typed or os.path.lexists(expanded(typed))


def is_file(path: str) -> bool:
    """Whether a path that was typed leads to a file; false for a text that is too long for a path."""
    return os.path.isfile(expanded(path))  # noqa: PTH113  # Path.is_file raises an error for it
