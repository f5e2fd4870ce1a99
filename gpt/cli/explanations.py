"""Hydra's errors rewritten as one line that says what to do."""

import difflib
import re
import shlex
import textwrap
import traceback
from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import OmegaConf

from gpt.base.installation import CONF, installing
from gpt.base.keys import flat
from gpt.base.ladder import rank
from gpt.base.typed import expanded
from gpt.cli.arguments import OPTIONS, divided_options
from gpt.cli.composing import choices_of, composed, groups, is_for_users
from gpt.cli.synonyms import also, by_name, is_known_elsewhere, meaning

# For each group: a key that lands inside the group when a file lacks its package line, and that line.
PACKAGES = {
    "model": ("adds", "# @package _global_"), "logger": ("_target_", "# @package logger.NAME"),
    "metrics": ("_target_", "# @package metrics.NAME"),
}  # fmt: skip
# The extra that hydra/launcher=NAME needs; hydra/launcher=slurm extends submitit_slurm.
_EXTRA_OF_LAUNCHER = {"joblib": "sweep", "submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray"}


def explain_composition(error: Exception, config_name: str, typed: list[str], more_keys: Iterable[str] = ()) -> str:
    """Hydra's error about the command line, in one line that names the nearest valid choice.

    `more_keys` are further valid keys, which this configuration does not have.
    """
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        if group == "hydra/launcher" and name in _EXTRA_OF_LAUNCHER:
            return f"hydra/launcher={name} is not installed: {installing(_EXTRA_OF_LAUNCHER[name])}"
        if error.options or group.startswith("data/"):
            return _no_such_choice(group, name, error.options or ())
    if "@experiment." in str(error):
        return lacking_line("experiment")
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override!r} as key=value; quote special characters: key='\"a, b\"'"
    message = " ".join(str(error).split())
    if message.startswith("Error merging override "):
        override = message.removeprefix("Error merging override ")
        return f"{override}: give a value to each key of this group by name, as in training.max_iters=5"
    if ambiguous := re.match("Ambiguous value for argument '(.*)' 1. To use it as a list", message):
        return f"{ambiguous[1]} has several values: {_several(ambiguous[1], config_name)}"
    key = message.split("'")[1] if "'" in message else message
    if message.startswith(("Could not override", "Key", "Could not delete")):
        values, choices = _values_and_choices(config_name, typed)
        given = next((word.partition("=")[2] for word in typed if word.lstrip("+").partition("=")[0] == key), "")
        return _no_such_key(key, [*values, *more_keys], choices, given)
    return message or "Hydra cannot compose this configuration"


def lacking_line(group: str, line: str = "# @package _global_") -> str:
    """The error line for a file of a group whose keys land in the wrong place."""
    return f"the file of this {group} lacks the line {line!r} at its top"


def explain_yaml(error: yaml.YAMLError) -> str:
    """The error line for a file that is not YAML."""
    if not isinstance(error, yaml.MarkedYAMLError):  # a character that YAML does not allow
        return " ".join(str(error).split())
    mark = error.problem_mark
    where = f"{mark.name}, line {mark.line + 1}: " if mark else ""
    return f"{where}{error.problem or error.context}"


def explain_word(word: str, config_name: str, named: Mapping[str, Collection[str]]) -> str:
    """What to type instead of a word that has no key and is not clearly a value of one.

    `named` are the keys that a word may stand for, each with its values if they have names.
    """
    values, choices = _for_users(config_name)
    if config_name in ("train", "search"):
        if Path(expanded(word)).is_file():
            return (
                f"for a file of text, type data=text data.path={shlex.quote(word)}; for one of settings, call it .yaml"
            )
        named = {**{group: choices_of(group) for group in groups("train")}, **named}
    return _as_key(word, values, choices) or f"cannot read {word!r} as key=value; {_meant(word, values, named)}"


def explain_option(option: str, value: str, config_name: str) -> str:
    """What to type instead of an option that does not exist, such as --lr, and the word after it."""
    values, _ = _for_users(config_name)
    name = option.lstrip("-").replace("-", "_")
    near = difflib.get_close_matches(option.replace("_", "-"), OPTIONS, n=1, cutoff=0.75)
    if name in ("config", "config_file", "cfg_file"):
        typed: str | None = value or "FILE.yaml"
    elif found := {**{key: key for key in values}, **by_name(values)}.get(name):
        typed = f"{found}={shlex.quote(value) if value else 'VALUE'}"
    else:
        typed = meaning(name, value, values)
    if near and not typed:
        return f"there is no option {option}: did you mean {near[0]}?"
    return f"there is no option {option}: " + (f"type {typed}, without dashes" if typed else "--help lists the keys")


def _for_users(config_name: str) -> tuple[dict[str, Any], Mapping[str, str | None]]:
    """The keys that a user sets, with their values, and the choices of groups; search.py takes train.py's too."""
    values, choices = _values_and_choices(config_name, [])
    if config_name == "search":
        training, choices = _values_and_choices("train", [])
        values |= training
    return {key: value for key, value in values.items() if is_for_users(key)}, choices


def _no_such_choice(group: str, name: str, options: Collection[str]) -> str:
    """The error line for a name that is not one of a group's choices."""
    if group.startswith("data/") or (group == "data" and Path(expanded(name)).suffix == ".txt"):
        path = f"{group.removeprefix('data').removeprefix('/')}/{name}" if "/" in group else name
        return f"data= takes the name of a corpus; for a file, type data=text data.path={shlex.quote(path)}"
    if Path(name).suffix in (".yaml", ".yml"):
        return f"{group}= takes a name without {Path(name).suffix}; a file of your own needs no key: train.py {name}"
    known = _ordered(group, {*options, *(choices_of(group) if (CONF / group).is_dir() else [])})
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    meant = f"did you mean {group}={near[0]}? " if near else ""
    return f"{group}={name} does not exist; {meant}{group} can be {', '.join(known)}"


def _several(override: str, config_name: str) -> str:
    """How a key takes several values."""
    key, _, values = override.partition("=")
    if key in ("logger", "metrics"):
        return f"for one run with all of them, type {key}=[{values}]"
    return "add -m for a sweep" if config_name == "train" else "give it one"


def _as_key(word: str, values: Mapping[str, Any], choices: Mapping[str, str | None]) -> str | None:
    """What is wrong with a word that is a key, a group of keys, or was to be a key in such a group."""
    if word in values or word.startswith("hydra."):
        return f"{word} needs a value, as in {_example(word, values)}, without spaces around the sign"
    group = word.partition(".")[0]
    inside = [key for key in values if key.startswith(f"{group}.")]
    if inside and word == group:
        return f"{word}: give a value to each key of this group by name, as in {_example(inside[0], values)}"
    return _no_such_key(word, values, choices) if inside else None


def _meant(word: str, values: Mapping[str, Any], named: Mapping[str, Collection[str]]) -> str:
    """What a word may mean: an option, the name of a choice, a key, a path; or else which stages there are."""
    if f"--{word}" in OPTIONS:
        return f"did you mean --{word}?"
    if "resume" in values and (Path(expanded(word)) / "config.yaml").is_file():
        return f"did you mean resume={shlex.quote(word)}, or {shlex.quote(f'{word}/config.yaml')} to repeat that run?"
    if near := _nearest(word, chain(*named.values())):
        having = [key for key in named if near in named[key]]
        others = "" if near == word else f" {_choosing(having[0], named)}"
        return f"did you mean {' or '.join(f'{key}={near}' for key in having)}?{others}"
    if typed := meaning(word, "", values):
        return f"did you mean {typed}?"
    keys = by_name(values)
    if near := _nearest(word, keys):
        return f"did you mean {_example(keys[near], values)}?"
    if paths := [f"{key}={shlex.quote(word)}" for key in named if not named[key]]:
        return f"did you mean {' or '.join(paths)}?"
    return _choosing("model", named) if "model" in named else "--help lists the keys"


def _nearest(word: str, names: Iterable[str]) -> str | None:
    near = difflib.get_close_matches(word.lower(), list(names), n=1, cutoff=1 if "/" in word else 0.75)
    return near[0] if near else None


def _choosing(group: str, named: Mapping[str, Iterable[str]]) -> str:
    return f"{group} can be {', '.join(_ordered(group, named[group]))}"


def _example(key: str, values: Mapping[str, Any]) -> str:
    """The key with its value, unless that is a list, a reference or nothing."""
    value = values.get(key)
    if isinstance(value, bool):
        value = str(value).lower()
    return f"{key}={value if isinstance(value, (str, int, float)) and '$' not in str(value) else 'VALUE'}"


def explain_launch(error: Exception) -> str | None:
    """A job launcher's error in one line; None for any other error."""
    *_, (innermost, _) = traceback.walk_tb(error.__traceback__)
    library = innermost.f_globals["__name__"].partition(".")[0]
    return f"{library}: {textwrap.shorten(str(error), 400)}" if library in ("submitit", "ray") else None


def _no_such_key(key: str, keys: Iterable[str], choices: Mapping[str, str | None], value: str = "") -> str:
    """The error line for an unknown key: the choices of its group that have it, or the nearest valid key.

    `value` is the one that it was given.
    """
    if key.startswith("hydra."):
        return f"unknown key {key}; see Hydra's documentation"
    known = [*keys, "hydra.run.dir"]
    group, _, name = key.rpartition(".")
    having = _having(group, name) if group in choices else []
    if having:
        resumed = "; to resume a run elsewhere, repeat its own data=" if group == "data" else ""
        return f"{group}={choices.get(group)} has no key {name}; it is a key of {group}={', '.join(having)}{resumed}"
    if key in choices:
        return f"{key} needs the name of a file in conf/{key}/, as in {key}={choices[key] or 'NAME'}"
    name = name.replace("-", "_")
    if typed := meaning(key, value, known) or meaning(name, value, known):
        return f"unknown key {key}; did you mean {typed}?"
    if full := by_name(known).get(name):
        return f"unknown key {key}; did you mean {full}?"
    for meant in [name, *also(name)]:
        for group in choices:
            if having := _having(group, meant):
                return f"unknown key {key}; did you mean {group}.{meant}, of {group}={', '.join(having)}?"
    near = [] if is_known_elsewhere(name) else difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"unknown key {key}; " + (f"did you mean {near[0]}?" if near else "--help lists the keys")


def _having(group: str, name: str) -> list[str]:
    """The choices of a group that have this key."""
    having = []
    for choice in choices_of(group):
        content: Any = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{choice}.yaml"))
        if name in content.get(group, content):
            having.append(choice)
    return having


def _ordered(group: str, names: Iterable[str]) -> list[str]:
    """The choices of a group: stages in the order of the ladder, others by name."""
    return sorted(names, key=rank if group == "model" else None)


def _values_and_choices(config_name: str, typed: list[str]) -> tuple[dict[str, Any], Mapping[str, str | None]]:
    """The choice for each group and the value of each key, with the choices on this command line; and the choices."""
    known = groups(config_name)
    _, keyed = divided_options(typed)
    parsed = [OverridesParser.create().parse_override(argument) for argument in keyed]
    chosen = [o.input_line or "" for o in parsed if o.key_or_group in known and not o.is_sweep_override()]
    content, settings = composed(config_name, chosen)
    choices = settings["runtime"]["choices"]
    return {group: choices.get(group) or "NAME" for group in known} | flat(content), choices
