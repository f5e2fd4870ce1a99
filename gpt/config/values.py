"""Values as they are typed: the type of a key decides, once, which object its text stands for."""

import re
from typing import Annotated, Any, Literal, get_args, get_origin

_QUOTED = re.compile(r"""(["'])((?:(?!\1).)*)\1""", re.DOTALL)
_ESCAPED = re.compile(r"""(["'])((?:\\.|(?!\1)[^\\])*)\1""", re.DOTALL)  # has its own quote, after a backslash
_ITEM = re.compile(r""" *("[^"]*"|'[^']*'|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*') *(?=,|$)|[^,]+""", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}
_CONSTANTS = {"true": True, "false": False, "null": None}
_LARGEST = 2**53  # above it, a float is not exact


class Typed(str):
    """A value as typed, which `read` turns into an object."""

    __slots__ = ()


def parted(setting: str) -> tuple[str, str | None]:
    """The key and the value of key=value; None for a key alone. Hydra's + in front of a key says nothing here."""
    key, equals, value = setting.partition("=")
    return key.lstrip("+"), value if equals else None


class Escapes:
    r"""In an annotation of text: \n, \t, \r and \\ in what is typed stand for these characters."""


def read(typed: str, kind: Any) -> Any:
    r"""The object that a typed value stands for, if its key is annotated with `kind`.

    null is none, and quotes around a value are left out. Where text is allowed, everything else is that text, unless it
    is a number and numbers are allowed as well, or [a,b] and lists are. Without text, it is a number, true, false or a
    list, and what is none of these stays text, for the schema to refuse; 1e3 is the whole number 1000.
    """
    typed, kinds = str(typed), set(_kinds(kind))
    is_listed = typed[:1] + typed[-1:] == "[]"
    if typed == "null":
        return None
    if str in kinds and not (is_listed and list in kinds):
        number = scalar(typed) if kinds & {int, float} else typed
        text = unquoted(typed) if isinstance(number, str) else number
        return unescaped(text) if isinstance(text, str) and Escapes in kinds else text
    if list in kinds or is_listed:
        inner = next(iter(get_args(_list_in(kind))), Any)
        return [read(item, inner) if str not in set(_kinds(inner)) else _text(item, inner) for item in listed(typed)]
    return scalar(typed)


def is_text(kind: Any) -> bool:
    """Whether a key of this type takes any text."""
    return str in set(_kinds(kind))


def _text(item: str, kind: Any) -> str:
    return unescaped(item) if Escapes in set(_kinds(kind)) else item


def scalar(typed: str) -> Any:
    """A number, true, false, null or else a text."""
    if typed.lower() in _CONSTANTS:
        return _CONSTANTS[typed.lower()]
    try:
        number = float(typed)
    except ValueError:
        return unquoted(typed)
    if re.fullmatch(r"[+-]?\d+", typed):
        return int(typed)
    return int(number) if "e" in typed.lower() and number.is_integer() and abs(number) < _LARGEST else number


def _kinds(kind: Any) -> Any:
    """The plain types in an annotation, and `Escapes` if it has them."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        yield from _kinds(inner[0])
        yield from (Escapes for each in inner[1:] if isinstance(each, Escapes) or each is Escapes)
    elif origin is Literal:
        yield Literal
    elif origin in (list, dict):
        yield origin
    elif inner:
        for each in inner:
            yield from _kinds(each)
    else:
        yield kind


def _list_in(kind: Any) -> Any:
    """The annotation of a list within another one, if there is one."""
    if get_origin(kind) is list:
        return kind
    inner = get_args(kind)[:1] if get_origin(kind) is Annotated else get_args(kind)
    return next((found for each in inner if (found := _list_in(each)) is not None), None)


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


def listed(text: str) -> list[str]:
    """The items of a list that was typed as [a,b] or a,b; an item may have quotes."""
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    items = (match[0].strip() for match in _ITEM.finditer(inner))
    return [unquoted(item) for item in items if item]


def as_typed(value: object) -> str:
    """A value as a user would type it: null, true, [a,b], 0.001."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(as_typed, value))}]"
    return str(value)
