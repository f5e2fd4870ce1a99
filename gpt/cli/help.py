"""--help: what a script does, the choices, and the meaning, range and default of every key.

Meanings are the comments in conf/, ranges come from the schema, and defaults from the choices on the command line.
"""

import re
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from gpt.base.console import command, usage
from gpt.base.installation import CONF
from gpt.base.ladder import LADDER, is_ablation
from gpt.base.typed import as_typed
from gpt.config.composing import choices_of, composed, groups, is_for_users, settings_of
from gpt.config.keys import flat
from gpt.config.meanings import meanings

_COMMAND = re.compile(r"python (?:(\w+)\.py|-m gpt (\w+))")  # as a clone has it
_COLUMN = 38  # column where meanings start, unless a key is longer
# What people change, beside the model.
_OFTEN = ("data", "optimizer", "schedule", "training.max_iters", "training.batch_size", "training.learning_rate",
          "training.eval_interval", "name", "seed", "device", "resume")  # fmt: skip


def text(config_name: str, schema: type[BaseModel], overrides: list[str], *, is_whole: bool = True) -> str:
    """The help text of conf/<config_name>.yaml, with the values that these overrides compose.

    That of train.py has 400 lines; unless `is_whole`, it has the ladder and the keys that people change.
    """
    width = max(60, shutil.get_terminal_size().columns)
    tree, settings = composed(config_name, overrides)
    choices = settings["runtime"]["choices"]
    is_short = config_name == "train" and not is_whole
    shown = ["model"] if is_short else groups(config_name)
    purposes = [_group(group, choices.get(group), width, is_short=is_short) for group in shown]
    template = _COMMAND.sub(lambda match: command(match[1] or match[2]), settings["help"]["template"])
    parts = [template.strip(), f"Usage: {usage(config_name)}", *purposes]
    explained = meanings(config_name, choices)
    ranges = _ranges(schema.model_json_schema(by_alias=True))
    section = None
    lines: list[str] = []
    for key, value in flat(tree).items():
        group, _, name = key.partition(".")
        if not is_for_users(key) or (config_name == "train" and key == "stage"):
            continue
        if is_short and group != "model" and key not in _OFTEN:
            continue
        if name and group != section:
            chosen = f" ({group}={choices[group]})" if choices.get(group) else ""
            lines.append(f"\n{group}{chosen}:" if lines else f"{group}{chosen}:")
        elif section and not name:
            lines.append("")
        section = group if name else None
        meaning = explained.get(key) or explained.get(name, "")
        allowed = ranges.get(key, "")
        if allowed and not all(word in meaning for word in re.findall(r"\w+", allowed)):
            meaning = f"{meaning} ({allowed})" if meaning else allowed
        lines += _entry(f"{key}={_default(value)}", meaning, width)
    title, more = "Keys (key=value), with their values here:", []
    if is_short:
        title = "The keys that people change, with their values here; a short key will do, as in lr=3e-4 or --lr 3e-4:"
        others = [f"{group}={choices[group]}" for group in _OFTEN if group in choices]
        more = [f"Choices: {', '.join(others)}.", "--help all lists the other stages, all choices, and every key."]
    return "\n\n".join([*parts, title, "\n".join(lines), *more])


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
