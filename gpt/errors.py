"""Errors that the user can fix: the scripts print them as one line, without a traceback."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

# How PyTorch reports that memory ran out, on its devices and in its allocators.
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "bad_alloc", "Storage size calculation overflowed")


class UserError(Exception):
    """Something failed outside the code (a file, the network, the machine); the message says what to do."""

    exit_code = 1


class RequestError(UserError):
    """The request itself cannot be met: a value, a name, a combination."""

    exit_code = 2


class DivergedError(UserError):
    """A loss or gradient became NaN or Inf."""


def report(error: Exception) -> tuple[str, int] | None:
    """The line and the exit code of an error that the user can fix; None for a bug."""
    if isinstance(error, UserError):
        return str(error), error.exit_code
    if isinstance(error, ValidationError):
        return explain(error), RequestError.exit_code
    if isinstance(error, OSError):
        file = f"{error.filename}: " if error.filename else ""
        return f"{file}{error.strerror or error}", UserError.exit_code
    ran_out = isinstance(error, RuntimeError) and any(sign in str(error) for sign in _OUT_OF_MEMORY)
    if ran_out or isinstance(error, MemoryError):
        return "not enough memory for this: try a smaller model, batch or number of samples", UserError.exit_code
    return None


def explain(error: ValidationError, prefix: str = "") -> str:
    """Everything that is wrong with some values, in one line; `prefix` goes in front of each key."""
    return "; ".join(_explain(problem, prefix) for problem in error.errors())


def _explain(problem: Mapping[str, Any], prefix: str) -> str:
    key = printable(".".join([*filter(None, [prefix]), *(str(part) for part in problem["loc"])]))
    if problem["type"] == "missing":
        return f"{key} is required: give it a value, and do not delete it"
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key}"
    message = " ".join(problem["msg"].removeprefix("Value error, ").split())
    message = message[:1].lower() + message[1:]
    if isinstance(problem["input"], dict) or not key:
        return f"{key}: {message}".removeprefix(": ")
    return f"{key}={_shorten(problem['input'])}: {message}"


def printable(text: str, *, keep: str = "") -> str:
    """Untrusted text on one line: control characters, including newlines, are escaped, except those in `keep`.

    So are characters that would reorder the line, and bytes of a path that are not UTF-8.
    """
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def _shorten(value: object) -> str:
    try:
        text = " ".join(str(value).split())
    except ValueError:  # an integer of thousands of digits
        return type(value).__name__
    return text if len(text) <= 60 else f"{text[:60]}..."
