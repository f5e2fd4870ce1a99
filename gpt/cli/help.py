"""--help: what a script does, the choices, and the meaning, range and default of every key.

Ranges come from the schema; so do meanings and values, but for train.py, which has them in conf/.
"""

import inspect
import re
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from gpt.base.commands import COMMANDS
from gpt.base.console import command as console_command
from gpt.base.console import usage
from gpt.base.errors import RequestError
from gpt.base.installation import CONF
from gpt.base.ladder import LADDER, is_ablation
from gpt.config.command import Command
from gpt.config.composing import composition, kind_of
from gpt.config.conf import choices_of, groups, is_choice, is_for_users, meanings, settings_of
from gpt.config.fields import fields_of, put
from gpt.config.keys import flat
from gpt.config.schema import TrainConfig
from gpt.config.values import as_typed

_COMMAND = re.compile(r"python (?:(\w+)\.py|-m gpt (\w+))")  # as a clone has it
_COLUMN = 38  # column where meanings start, unless a key is longer
# What people change, beside the model.
_OFTEN = ("data", "optimizer", "schedule", "training.max_iters", "training.batch_size", "training.learning_rate",
          "training.eval_interval", "name", "seed", "device", "resume")  # fmt: skip


def text(command: Command, *, is_whole: bool = True) -> str:
    """The help text of a command, with the values that its settings give.

    That of train.py has 400 lines; unless `is_whole`, it has the ladder and the keys that people change.
    """
    return _of_training(command, is_whole=is_whole) if command.name == "train" else _of_schema(command)


def _of_schema(command: Command) -> str:
    schema, width = COMMANDS[command.name].load_schema(), _width()
    fields, ranges = fields_of(schema), _ranges(schema.model_json_schema(by_alias=True))
    lines = []
    for key, field in fields.items():
        if field.description is not None:
            default = "" if field.is_required() else as_typed(field.get_default(call_default_factory=True))
            value = as_typed(command.settings.get(key, default))
            lines += _entry(f"{key}={value}", _meaning(field.description, ranges.get(key, "")), width)
    others = {"search": ["All other keys are those of train.py."]}.get(command.name, [])
    keys = ["Keys (key=value), with their values here:", "\n".join(lines)] if lines else []
    return "\n\n".join([*_head(command.name, inspect.getdoc(schema) or ""), *keys, *others])


def _of_training(command: Command, *, is_whole: bool) -> str:
    width = _width()
    try:
        tree, settings = _composed(command)
    except RequestError:  # the help is shown all the same
        tree, settings = _composed(Command("train"))
    choices = settings["runtime"]["choices"]
    shown = groups() if is_whole else ["model"]
    purposes = [_group(group, choices.get(group), width, is_short=not is_whole) for group in shown]
    explained = meanings(choices)
    ranges = _ranges(TrainConfig.model_json_schema(by_alias=True))
    section = None
    lines: list[str] = []
    for key, value in flat(tree).items():
        group, _, name = key.partition(".")
        if not is_for_users(key) or key == "stage":
            continue
        if not is_whole and group != "model" and key not in _OFTEN:
            continue
        if name and group != section:
            chosen = f" ({group}={choices[group]})" if choices.get(group) else ""
            lines.append(f"\n{group}{chosen}:" if lines else f"{group}{chosen}:")
        elif section and not name:
            lines.append("")
        section = group if name else None
        meaning = explained.get(key) or explained.get(name, "")
        lines += _entry(f"{key}={_default(value)}", _meaning(meaning, ranges.get(key, "")), width)
    title, more = "Keys (key=value), with their values here:", []
    if not is_whole:
        title = "The keys that people change, with their values here; a short key will do, as in lr=3e-4 or --lr 3e-4:"
        others = [f"{group}={choices[group]}" for group in _OFTEN if group in choices]
        more = [f"Choices: {', '.join(others)}.", "--help all lists the other stages, all choices, and every key."]
    head = _head("train", settings["help"]["template"])
    return "\n\n".join([*head, *purposes, title, "\n".join(lines), *more])


def _composed(command: Command) -> tuple[dict[str, Any], Any]:
    """What the command's choices and settings give, with references as they are written, and Hydra's settings."""
    with composition(command) as content:
        for key, value in command.settings.items():
            if not is_choice(key) and kind_of(key, content) is not None:
                put(content, key, value)
        return content, HydraConfig.get()


def _head(name: str, template: str) -> list[str]:
    """What a command does, with examples, and its usage."""
    examples = _COMMAND.sub(lambda match: console_command(match[1] or match[2]), template)
    return [examples.strip(), f"Usage: {usage(name)}"]


def _width() -> int:
    return max(60, shutil.get_terminal_size().columns)


def _meaning(said: str, allowed: str) -> str:
    """The meaning of a key, and the values that it may have, unless they are said already."""
    if not allowed or all(word in said for word in re.findall(r"\w+", allowed)):
        return said
    return f"{said} ({allowed})" if said else allowed


def _group(group: str, chosen: Any, width: int, *, is_short: bool) -> str:
    """The choices of a group, each with its purpose; the current one has a star.

    The stages are the ladder by its ideas and, unless `is_short`, those beside it, a line for each family.
    """
    names, column = choices_of(group), 14 if is_short else 24
    shown = [name for name in names if group != "model" or name in LADDER or name == chosen]
    lines = [f"{group}=NAME, one of{' (* is chosen)' if chosen else ''}:"]
    for name in shown:
        purpose = _purpose(CONF / group / f"{name}.yaml")
        others = settings_of(name) if group == "model" and not is_short else []
        purpose += f"; also sets {' '.join(others)}" if others else ""
        lines += _entry(f"{'*' if name == chosen else ' '} {name}", purpose, width, column)
    families: dict[str, list[str]] = {}
    for name in [] if is_short else names:
        if name not in shown:
            families.setdefault(f"like {name.partition('_with')[0]}" if is_ablation(name) else "other", []).append(name)
    lines += ["  beside the ladder, to compare:"] if families else []
    for family, members in families.items():
        lines += _entry(f"  {family}", ", ".join(members), width, column)
    return "\n".join(lines)


def _purpose(path: Path) -> str:
    """The purpose of a choice: what its stage adds, or the first comment of its file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    adds = next((line.removeprefix("adds:") for line in lines if line.startswith("adds:")), None)
    comments = [line.removeprefix("#") for line in lines if line.startswith("#") and "@package" not in line]
    return (adds or next(iter(comments), "")).strip()


def _ranges(schema: dict[str, Any]) -> dict[str, str]:
    """The values that the schema allows for each key, in words."""
    definitions = schema.get("$defs", {})

    def walk(node: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
        for name, field in node.get("properties", {}).items():
            options = field.get("anyOf", [field])
            for option in options:
                if "$ref" in option:
                    yield from walk(definitions[option["$ref"].rpartition("/")[2]], f"{prefix}{name}.")
            words = [_allowed(option) for option in options]
            yield f"{prefix}{name}", " or ".join(filter(None, words))

    return dict(walk(schema, ""))


def _allowed(option: dict[str, Any]) -> str:
    if "enum" in option:
        return "|".join(map(str, option["enum"]))
    if "const" in option:
        return str(option["const"])
    if option.get("type") == "boolean":
        return "true|false"
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    return ", ".join(f"{word} {option[key]:,}" for key, word in words.items() if abs(option.get(key, 2**40)) < 2**31)


def _default(value: Any) -> str:
    match = re.fullmatch(r"\$\{oc\.env:(\w+),(.*)\}", str(value))
    return f"${match[1]} or {match[2]}" if match else as_typed(value)


def _entry(left: str, meaning: str, width: int, column: int = _COLUMN) -> list[str]:
    start = f"  {left}"
    if not meaning:
        return [start]
    wrapped = textwrap.wrap(meaning, width - column, break_on_hyphens=False)
    if len(start) + 2 > column:
        return [start, *(" " * column + line for line in wrapped)]
    return [f"{start:<{column}}{wrapped[0]}", *(" " * column + line for line in wrapped[1:])]
