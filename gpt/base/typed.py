"""Values as users type them: quotes, lists and whole numbers, read the same way wherever they are given."""

import os
import re

_QUOTED = re.compile(r"""(["'])((?:(?!\1).)*)\1""", re.DOTALL)
_ESCAPED = re.compile(r"""(["'])((?:\\.|(?!\1)[^\\])*)\1""", re.DOTALL)  # has its own quote, after a backslash
_ITEM = re.compile(r""" *("[^"]*"|'[^']*'|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*') *(?=,|$)|[^,]+""", re.DOTALL)
_LARGEST = 2**53  # above it, a float is not exact
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}


def unquoted(text: str) -> str:
    """A text without the quotes around it, if there are any; see `in_quotes`."""
    if match := _QUOTED.fullmatch(text):
        return match[2]
    if match := _ESCAPED.fullmatch(text):
        return re.sub(rf"(\\+)(\$\{{|{match[1]}|$)", lambda found: found[1][: len(found[1]) // 2] + found[2], match[2])
    return text


def in_quotes(text: str) -> str:
    """A text for Hydra's grammar, which requires escaped backslashes only before a quote or a reference."""
    escaped = re.sub(r"(\\*)(\$\{|'|$)", lambda match: 2 * match[1] + (match[2] and "\\" + match[2]), text)
    return f"'{escaped}'"


def unescaped(text: str) -> str:
    r"""A text with \n, \t, \r and \\ replaced by the characters that they stand for; any other backslash stays."""
    return re.sub(r"\\([ntr\\])", lambda match: _ESCAPES[match[1]], text)


def expanded(path: str) -> str:
    """A path that starts with ~ or ~USER, in that user's home folder; any other path, such as ./~, is returned."""
    return os.path.expanduser(path)  # noqa: PTH111  # Path.expanduser raises an error for an unknown user


def is_path(typed: str) -> bool:
    """Whether it is taken as a path, and not as the name of a run: it has a slash, or something is there."""
    return os.sep in typed or os.path.lexists(expanded(typed))


def is_file(path: str) -> bool:
    """Whether a path that was typed leads to a file; false for a text that is too long for a path."""
    return os.path.isfile(expanded(path))  # noqa: PTH113  # Path.is_file raises an error for it


def listed(text: str) -> list[str]:
    """The items of a list that was typed as [a,b] or a,b; an item may have quotes."""
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    items = (match[0].strip() for match in _ITEM.finditer(inner))
    return [unquoted(item) for item in items if item]


def whole(text: str) -> str:
    """A number such as 1e3 as a whole number, 1000; any other text is returned."""
    if not re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", text):
        return text
    number = float(text)
    return str(int(number)) if number.is_integer() and abs(number) < _LARGEST else text


def as_typed(value: object) -> str:
    """A value of YAML or Python as a user would type it: null, true, [a,b], 0.001."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(as_typed, value))}]"
    return str(value)
