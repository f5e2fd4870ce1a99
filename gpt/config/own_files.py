"""YAML files of settings, as in `train.py mine.yaml model=v5`: each key is taken as if it had been typed.

Keys are nested or dotted. The config.yaml of a run is such a file, too: it repeats the run.
"""

import re
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from gpt.base.errors import RequestError
from gpt.base.installation import CONF
from gpt.base.typed import as_typed, expanded, in_quotes, is_file
from gpt.config import given_code
from gpt.config.composing import choices_of, composed, is_for_users
from gpt.config.explanations import one_line
from gpt.config.grammar import is_readable
from gpt.config.keys import LENGTHS, choice_groups, escaping, flat, leaves, textual
from gpt.config.override import Override
from gpt.config.schema import TrainConfig

_PLAIN = r"[\w./~@:,+-]+"  # a text that needs no quotes; commas are of a sweep


class _Strict(yaml.SafeLoader):
    """Refuses a key that a mapping has twice; YAML's own loader takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in {key for key in keys if keys.count(key) > 1}:
            raise RequestError(f"{self.name} has {key} twice")
        return super().construct_mapping(node, deep)


def is_own(word: str) -> bool:
    """Whether a word names a file of settings."""
    return Path(word).suffix in (".yaml", ".yml") and is_file(word)


def overrides(word: str, *, has_escapes: bool = True, is_sweep: bool = False) -> list[Override]:
    """The settings of a file, to be read with escapes or without, and by Hydra's grammar in a sweep.

    Raises RequestError if it has none.
    """
    path = Path(expanded(word))
    try:
        with path.open(encoding="utf-8") as file:
            content = yaml.load(file, _Strict)
    except UnicodeDecodeError:
        raise RequestError(f"{word} is not UTF-8 text") from None
    except yaml.YAMLError as error:
        raise RequestError(one_line(error)) from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise RequestError(f"{word} must have keys with values, as in 'training.max_iters: 100'")
    if "defaults" in content:
        raise RequestError(
            f"{word} has a defaults list, so it is an experiment: put it into DIR/experiment/, with the line "
            f"'# @package _global_' at its top, and add --config-dir=DIR experiment={path.stem}"
        )
    if "stage" in content and isinstance(content.get("model"), dict):
        return _of_run(content, has_escapes=has_escapes, is_sweep=is_sweep)
    found: dict[str, Any] = {}
    for key, value in leaves(content):
        if key in found:
            raise RequestError(f"{word} has {key} twice")
        found[key] = value
    return [_override(key, value, has_escapes=has_escapes, is_sweep=is_sweep) for key, value in found.items()]


def _override(key: str, value: Any, *, has_escapes: bool, is_sweep: bool) -> Override:
    """A setting as a user would type it: a text in quotes if it would be read as anything else."""
    is_text = textual(TrainConfig, key)

    def typed(value: Any) -> str:
        if isinstance(value, list):
            return f"[{','.join(map(typed, value))}]"
        if not isinstance(value, str):
            return as_typed(value)
        if has_escapes and key in escaping(TrainConfig):
            value = value.replace("\\", "\\\\")
        if is_text:
            if re.fullmatch(_PLAIN, value) and value != "null":
                return value
            quote = next((quote for quote in "'\"" if quote not in value and not is_sweep), "")
            return f"{quote}{value}{quote}" if quote else in_quotes(value)
        return value if is_readable(value) else in_quotes(value)

    return Override(key, typed(value))


def _of_run(content: dict[str, Any], *, has_escapes: bool, is_sweep: bool) -> list[Override]:
    """The settings of a run: its choices by their names in conf/, and what differs from the values of these."""
    chosen: dict[str, Any] = {group: _named(group, content[group]) for group in choice_groups() if group != "model"}
    chosen = {"model": given_code.name_of("model", content["model"]["_target_"]) or content["stage"]} | chosen
    chosen |= {group: [*content[group]] for group in choice_groups(several=True) if content.get(group)}
    typed = [Override(key, as_typed(value)) for key, value in chosen.items()]
    defaults, settings = composed("train", [*map(str, typed)])
    if settings["runtime"]["choices"]["model"] != chosen["model"]:
        raise RequestError(f"the run's stage, {content['stage']}, is not in conf/: resume= and init= do without")
    before, after = flat(defaults), flat(content)
    is_decided = any(after.get(key) is not None for key in LENGTHS[1:])
    return typed + [
        _override(key, value, has_escapes=has_escapes, is_sweep=is_sweep)
        for key, value in after.items()
        if key not in {"format", "checksum", "stage", *LENGTHS[:1][:is_decided]}
        and is_for_users(key)
        and (key not in before or before[key] != value)
    ]


def _named(group: str, choice: dict[str, Any]) -> str:
    """The first choice of a group that makes what this one makes; its values are given by name."""
    if typed := given_code.name_of(group, str(choice.get("_target_"))):
        return typed
    for name in choices_of(group):
        content: Any = OmegaConf.load(CONF / group / f"{name}.yaml")
        if content.get("_target_") == choice.get("_target_"):
            return name
    raise RequestError(f"{group}._target_={choice.get('_target_')} is no choice of {group} here")
