"""Errors that the user can fix: the scripts print them as one line, without a traceback."""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gpt.base.installation import installing

if TYPE_CHECKING:
    from pydantic import ValidationError

Ending = Literal["paused", "diverged", "pruned", "failed"]  # why a run has ended without finishing


class UserError(Exception):
    """Something failed outside the code (a file, the network, the machine); the message says what to do."""

    exit_code = 1
    ending: ClassVar[Ending] = "failed"  # of a run that this error ends

    def _render_traceback_(self) -> list[str]:
        """What IPython and notebooks show: the line alone."""
        return [f"{type(self).__name__}: {printable(str(self))}"]


class RequestError(UserError):
    """The request itself cannot be met: a value, a name, a combination."""

    exit_code = 2


class UnavailableError(RequestError):
    """A file, a device or a run folder cannot be used at the moment, whatever the rest of the request."""


class DivergedError(UserError):
    """A loss or gradient became NaN or Inf."""

    ending = "diverged"


@contextmanager
def require_extra(extra: str) -> Iterator[None]:
    """Wrap imports of optional libraries: if one is missing, RequestError names the extra that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise RequestError(f"{error.name} is not installed: {installing(extra)}") from None


def report(error: Exception) -> tuple[str, int] | None:
    """The line and the exit code of an error that the user can fix; None for a bug."""
    from pydantic import ValidationError  # slow to import: `import gpt` does not pay for it

    if isinstance(error, UserError):
        return str(error), error.exit_code
    if isinstance(error, ValidationError):
        return explain(error), RequestError.exit_code
    if isinstance(error, OSError):
        file = f"{error.filename}: " if error.filename else ""
        return f"{file}{error.strerror or error}", UserError.exit_code
    if isinstance(error, _out_of_memory()):
        return "not enough memory for this: try a smaller model, batch or number of samples", UserError.exit_code
    return None


def _out_of_memory() -> tuple[type[Exception], ...]:
    """The errors of Python and, once it is imported, of PyTorch when memory runs out."""
    torch = sys.modules.get("torch")
    return (MemoryError,) if torch is None else (MemoryError, torch.OutOfMemoryError)


def explain(error: "ValidationError", prefix: str = "") -> str:
    """All validation errors in one line; `prefix` is put in front of each key."""
    problems: dict[str, list[Mapping[str, Any]]] = {}
    for problem in error.errors():
        names = [name for name in map(str, problem["loc"]) if not _IS_ALTERNATIVE.search(name)]
        problems.setdefault(printable(".".join([*filter(None, [prefix]), *names])), []).append(problem)
    return "; ".join(_explain(key, alternatives) for key, alternatives in problems.items())


# If a value may have one of several types, pydantic's path to it ends with the type that was tried.
_IS_ALTERNATIVE = re.compile(r"[\[\]()-]|^(int|float|str|bool|none)$")

# What pydantic's types of errors mean to a user.
_MEANING = {
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be finite",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "string_unicode": "is not UTF-8; a file or folder with such a name must be renamed",
    "string_too_short": "is empty",
    "string_too_long": "has more than {max_length} characters",
    "string_pattern_mismatch": "may have letters, digits and {signs} only",
    "list_type": "must be a list, as in [a,b]",
    **dict.fromkeys(("dict_type", "model_type"), "must be a group of keys"),
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must have at least {min_length} values",
    "too_long": "must have at most {max_length} values",
    "literal_error": "must be {expected}",
}


def _explain(key: str, alternatives: Sequence[Mapping[str, Any]]) -> str:
    alternatives = [a for a in alternatives if a["type"] == "string_unicode"] or alternatives
    problem = alternatives[0]
    if problem["type"] == "missing":
        return f"{key} is required: give it a value"
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key}"
    meaning = " or ".join(dict.fromkeys(map(_meaning, alternatives))).replace(" or must be ", " or ")
    if isinstance(problem["input"], dict) or not key:
        return f"{key}: {meaning}".removeprefix(": ")
    return f"{key}={_shorten(problem['input'])}: {meaning}"


def _meaning(problem: Mapping[str, Any]) -> str:
    if problem["type"] in _MEANING:
        pattern = str(problem.get("ctx", {}).get("pattern", ""))  # such as ^[\w.-]+$
        signs = " ".join(dict.fromkeys("_" + re.sub(r"\\w|[\^$+*?()\[\]]", "", pattern)))
        limits = {k: int(x) if isinstance(x, float) and x == int(x) else x for k, x in problem.get("ctx", {}).items()}
        return _MEANING[problem["type"]].format_map(limits | {"signs": signs}).replace("'", "")
    message = " ".join(problem["msg"].removeprefix("Value error, ").split())
    return message[:1].lower() + message[1:]


def printable(text: str, *, keep: str = "") -> str:
    """Untrusted text on one line: control characters, including newlines, are escaped, unless `keep` has them.

    Characters that would reorder the line are escaped too, and bytes of a path that are not UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def in_json(text: str) -> str:
    """Untrusted text on one line, in quotes and with the escapes of JSON."""
    return printable(json.dumps(text, ensure_ascii=False))


def _shorten(value: object) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:60]}..."
