"""YAML files of settings, as in `train.py mine.yaml model=v5`: each key is taken as if it had been typed.

Keys are nested or dotted. The config.yaml of a run is such a file, too: it repeats the run.
"""

from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from gpt.base.errors import RequestError
from gpt.base.installation import CONF
from gpt.base.keys import choice_groups, flat
from gpt.base.typed import as_typed, expanded
from gpt.cli.composing import choices_of, composed, is_for_users
from gpt.cli.explanations import one_line


def is_own(word: str) -> bool:
    """Whether a word names a file of settings."""
    return Path(word).suffix in (".yaml", ".yml") and Path(expanded(word)).is_file()


def overrides(word: str) -> list[str]:
    """The settings of a file as key=value. Raises RequestError for a file that has none."""
    path = Path(expanded(word))
    try:
        with path.open(encoding="utf-8") as file:
            content = yaml.safe_load(file)
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
        return _of_run(content)
    return [f"{key}={as_typed(value)}" for key, value in flat(content).items()]


def _of_run(content: dict[str, Any]) -> list[str]:
    """The settings of a run: its choices by their names in conf/, and what differs from the values of these."""
    chosen: dict[str, Any] = {group: _named(group, content[group]) for group in choice_groups() if group != "model"}
    chosen = {"model": content["stage"]} | chosen
    chosen |= {group: [*content[group]] for group in choice_groups(several=True) if content.get(group)}
    typed = [f"{key}={as_typed(value)}" for key, value in chosen.items()]
    defaults, settings = composed("train", typed)
    if settings["runtime"]["choices"]["model"] != content["stage"]:
        raise RequestError(f"the run's stage, {content['stage']}, is not in conf/: resume= and init= do without")
    before, after = flat(defaults), flat(content)
    return typed + [
        f"{key}={as_typed(value)}"
        for key, value in after.items()
        if key not in ("format", "checksum", "stage")
        and is_for_users(key)
        and (key not in before or before[key] != value)
    ]  # fmt: skip


def _named(group: str, choice: dict[str, Any]) -> str:
    """The first choice of a group that makes what this one makes; its values are given by name."""
    for name in choices_of(group):
        content: Any = OmegaConf.load(CONF / group / f"{name}.yaml")
        if content.get("_target_") == choice.get("_target_"):
            return name
    raise RequestError(f"{group}._target_={choice.get('_target_')} is no choice of {group} here")
