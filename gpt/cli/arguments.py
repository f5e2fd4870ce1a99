"""Checks and rewrites of the command line before Hydra parses it."""

import itertools
import re
from collections.abc import Container
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import MISSING
from pydantic import BaseModel

from gpt.base.errors import RequestError
from gpt.base.typed import expanded, in_quotes, listed, unescaped, unquoted, whole
from gpt.config.keys import choice_groups, escaping, literal, takes_list, textual
from gpt.config.schema import SETTING_FILES, TrainConfig

_CONFIG_DIR, _INFO = ("--config-dir", "-cd"), ("--info", "-i")
# Hydra's options, with the values that may follow them; None: anything.
OPTIONS: dict[str, tuple[str, ...] | None] = {
    **dict.fromkeys(("--help", "-h", "--hydra-help", "--version", "--resolve", "--run", "-r", "--multirun", "-m",
                     "--shell-completion", "-sc"), ()),
    **dict.fromkeys(("--cfg", "-c"), ("job", "hydra", "all")),
    **dict.fromkeys(_INFO, ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")),
    **dict.fromkeys(("--package", "-p", "--config-path", "-cp", "--config-name", "-cn",
                     *_CONFIG_DIR, "--experimental-rerun"), None),
}  # fmt: skip
_FOLDERS = ("runs", "hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
_GRAMMAR = re.compile(r"""[(){}$]|\\[^ntr\\\w.]""")  # of Hydra's, besides lists and quotes
_NULL = re.compile(r"""(?<![\w./'"-])null(?![\w./'"-])""")
_ITEM = re.compile(r"""("[^"]*"|'[^']*')|[^\[\],]+""")


def divided_options(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Divide arguments into options such as --config-dir DIR and the rest: argparse takes the options first.

    Options that Hydra does not have are left in the rest. Raises RequestError for one that lacks its value.
    """
    options, rest, remaining = [], [], list(arguments)
    while remaining:
        argument = remaining.pop(0)
        option, equals, value = argument.partition("=")
        if option not in OPTIONS:
            rest.append(argument)
            continue
        choices = OPTIONS[option]
        if choices == () and equals:
            raise RequestError(f"{option} takes no value")
        if choices == ():
            options.append(option)
            continue
        if not equals and remaining and (choices is None or remaining[0] in choices):
            value = remaining.pop(0)
        value = value or ("all" if option in _INFO else "")
        if not value or (choices is not None and value not in choices):
            raise RequestError(f"{option} needs {'a value' if choices is None else 'one of ' + ', '.join(choices)}")
        options += [option, expanded(value) if option in (*_CONFIG_DIR, "--config-path", "-cp") else value]
    return options, rest


def refuse_hidden(arguments: list[str], conf: Path) -> None:
    """Raise RequestError if Hydra would ignore a file in a --config-dir because conf/ has one of the same name."""
    for folder in config_dirs(arguments):
        for path in sorted(folder.rglob("*.yaml")):
            if (conf / path.relative_to(folder)).exists():
                raise RequestError(
                    f"{path} has the same name as a file in conf/, which would be used instead: rename it"
                )


def with_mode(arguments: list[str], conf: Path) -> list[str]:
    """Add hydra.mode=MULTIRUN for an experiment that sweeps: Hydra 1.4 must know the mode before composing."""
    folders = [conf, *config_dirs(arguments)]
    for index, (key, _, name) in enumerate(argument.partition("=") for argument in arguments):
        files = [folder / "experiment" / f"{name}.yaml" for folder in folders if key == "experiment"]
        if any(map(_sweeps, files)):
            return [*arguments[:index], "hydra.mode=MULTIRUN", *arguments[index:]]
    return arguments


def config_dirs(arguments: list[str]) -> list[Path]:
    """The --config-dir folders among options that `divided_options` has separated."""
    return [Path(folder) for option, folder in itertools.pairwise(arguments) if option in _CONFIG_DIR]


def _sweeps(experiment: Path) -> bool:
    try:
        return "mode: MULTIRUN" in experiment.read_text(encoding="utf-8")
    except (OSError, ValueError):  # Hydra reports the error
        return False


def divided(arguments: list[str], keys: Container[str]) -> tuple[list[str], list[str]]:
    """Split the arguments: Hydra's options and a script's own keys, and the rest, for train.py."""
    completion = ("install", "uninstall", "query")  # what Hydra's --shell-completion takes
    named = [(a, a.partition("=")[0].lstrip("~")) for a in arguments if ("=" in a or "~" in a[:1]) and "-" not in a[:1]]
    theirs = [argument for argument, key in named if key not in keys and key not in completion]
    return [a for a in arguments if a not in theirs], theirs


def quoted(
    arguments: list[str], schema: type[BaseModel], *, is_sweep: bool = False, has_escapes: bool = True
) -> tuple[list[str], dict[str, str | list[str]]]:
    """Quote the values of keys that take text for Hydra; return the new arguments, and the values of literal keys.

    A sweep has no literal keys. Escapes are replaced unless this is a sweep, whose jobs do that, or Python, which has
    its own. In the values of other keys, 1e3 becomes 1000: Hydra reads 1e3 as a float. null, for no choice of a group,
    becomes [] where it may have none, and elsewhere a text, so that the error is ours and not Hydra's. Raises
    RequestError for an empty folder, which Hydra would take for the current one, and for ???, which it would take for
    none.
    """
    optional = [*SETTING_FILES, *choice_groups(several=True)]
    nulls = dict.fromkeys(choice_groups(), "'null'") | dict.fromkeys(optional, "[]") if schema is TrainConfig else {}
    quoted: list[str] = []
    texts: dict[str, str | list[str]] = {}
    for argument in arguments:
        typed, equals, value = argument.partition("=")
        key = typed.lstrip("+")
        if equals and key in _FOLDERS and unquoted(value) in ("", MISSING):
            raise RequestError(f"{key}= is empty: name a folder")
        if equals and not is_sweep and value != "null" and literal(schema, key):
            read = unescaped if has_escapes and key in escaping(schema) else str
            if value[:1] + value[-1:] == "[]" and takes_list(schema, key):
                items = texts[key] = [*map(read, listed(value))]
                argument = f"{typed}=[{','.join(map(in_quotes, items))}]"
            else:
                text = texts[key] = read(unquoted(value))
                argument = f"{typed}={in_quotes(text)}"
        elif equals and (key in _FOLDERS or textual(schema, key)):
            argument = f"{typed}={_texts(value, is_folder=key in _FOLDERS)}"
        elif equals and key in nulls:
            argument = f"{typed}={_NULL.sub(nulls[key], value)}"
        elif equals:
            argument = f"{typed}={','.join(map(whole, value.split(',')))}"
        quoted.append(argument)
    return quoted, texts


def _texts(value: str, *, is_folder: bool) -> str:
    """The texts in a value, quoted where Hydra would read a number or nothing at all; a folder's ~ is expanded."""

    def text(match: re.Match[str]) -> str:
        item = match[0].strip()
        text = unquoted(item)
        text = expanded(text) if is_folder else text  # Hydra creates it
        return item if text == item and _is_plain(text) else in_quotes(text)

    return value if _GRAMMAR.search(value) else _ITEM.sub(text, value)


def _is_plain(text: str) -> bool:
    """Whether Hydra reads this text as it is, or as null."""
    try:
        return OverridesParser.create().parse_override(f"key={text}").value() in (text, None)
    except HydraException:
        return False
