"""Values as typed, for Hydra's grammar: text in quotes, whole numbers, and nothing where there may be none."""

import re
from collections.abc import Sequence
from dataclasses import replace

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import MISSING
from pydantic import BaseModel

from gpt.base.errors import RequestError
from gpt.base.typed import expanded, in_quotes, listed, unescaped, unquoted, whole
from gpt.config.keys import choice_groups, escaping, literal, takes_list, textual
from gpt.config.override import Override
from gpt.config.schema import SETTING_FILES, TrainConfig

_FOLDERS = ("runs", "hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
_GRAMMAR = re.compile(r"""[(){}$]|\\[^ntr\\\w.]""")  # of Hydra's, besides lists and quotes
_NULL = re.compile(r"""(?<![\w./'"-])null(?![\w./'"-])""")
_ITEM = re.compile(r"""("[^"]*"|'[^']*')|[^\[\],]+""")

Texts = dict[str, str | list[str]]  # the values of literal keys, which Hydra's grammar must not change


def quoted(
    overrides: Sequence[Override], schema: type[BaseModel], *, is_sweep: bool = False, has_escapes: bool = True
) -> tuple[list[Override], Texts]:
    """Quote the values of keys that take text for Hydra; return the new overrides, and the values of literal keys.

    A sweep has no literal keys. Escapes are replaced unless this is a sweep, whose jobs do that, or Python, which has
    its own. In the values of other keys, 1e3 becomes 1000: Hydra reads 1e3 as a float. null, for no choice of a group,
    becomes [] where it may have none, and elsewhere a text, so that the error is ours and not Hydra's. Raises
    RequestError for an empty folder, which Hydra would take for the current one, and for ???, which it would take for
    none.
    """
    optional = [*SETTING_FILES, *choice_groups(several=True)]
    nulls = dict.fromkeys(choice_groups(), "'null'") | dict.fromkeys(optional, "[]") if schema is TrainConfig else {}
    texts: Texts = {}

    def for_hydra(key: str, value: str) -> str:
        if key in _FOLDERS and unquoted(value) in ("", MISSING):
            raise RequestError(f"{key}= is empty: name a folder")
        if not is_sweep and value != "null" and literal(schema, key):
            read = unescaped if has_escapes and key in escaping(schema) else str
            if value[:1] + value[-1:] == "[]" and takes_list(schema, key):
                items = texts[key] = [*map(read, listed(value))]
                return f"[{','.join(map(in_quotes, items))}]"
            text = texts[key] = read(unquoted(value))
            return in_quotes(text)
        if key in _FOLDERS or textual(schema, key):
            return _texts(value, is_folder=key in _FOLDERS)
        if key in nulls:
            replaced = _NULL.sub(nulls[key], value)
            return replaced if is_readable(replaced) else in_quotes(value)
        return ",".join(map(whole, value.split(",")))

    made = [each if each.value is None else replace(each, value=for_hydra(each.key, each.value)) for each in overrides]
    return made, texts


def _texts(value: str, *, is_folder: bool) -> str:
    """The texts in a value, quoted where Hydra would read a number or nothing at all; a folder's ~ is expanded."""

    def text(match: re.Match[str]) -> str:
        item = match[0].strip()
        text = unquoted(item)
        text = expanded(text) if is_folder else text  # Hydra creates it
        return item if text == item and is_readable(text, as_it_is=True) else in_quotes(text)

    return value if _GRAMMAR.search(value) else _ITEM.sub(text, value)


def is_readable(value: str, *, as_it_is: bool = False) -> bool:
    """Whether Hydra can read a value: as text, as a number or as a sweep; or, `as_it_is`, as this text or as null."""
    try:
        read = OverridesParser.create().parse_override(f"key={value}")
        return not as_it_is or read.value() in (value, None)
    except HydraException:
        return False
