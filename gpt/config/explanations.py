"""What is wrong with a command line, in one line: in Hydra's words, or with what to type instead."""

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from gpt.base.console import command
from gpt.base.installation import CONF, installing
from gpt.base.ladder import BESIDE, is_ablation, rank
from gpt.base.typed import expanded
from gpt.config.composing import choices_of, composed, groups, is_for_users
from gpt.config.keys import choice_groups, flat
from gpt.config.override import Override
from gpt.config.synonyms import meant

# The extra that hydra/launcher=NAME needs; hydra/launcher=slurm extends submitit_slurm.
_EXTRA_OF_LAUNCHER = {"joblib": "sweep", "submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray"}


def one_line(error: BaseException) -> str:
    """An error's own words in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def explain_composition(
    error: Exception, config_name: str, typed: Sequence[Override], more_keys: Iterable[str] = ()
) -> str:
    """Hydra's error about the command line, with the nearest one for a choice or a key that does not exist.

    `more_keys` are further valid keys, which this configuration does not have.
    """
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        if error.options or group.startswith(("data/", "hydra/")):
            return _no_such_choice(group, name, error.options or ())
    cause = error.__cause__
    if isinstance(error, OverrideParseException):
        if isinstance(cause, ValueError):  # of a function of the grammar
            return f"cannot read {error.override!r}: {one_line(cause)}"
        return f"cannot read {error.override!r} as key=value; quote special characters: key='\"a, b\"'"
    if not isinstance(cause, ConfigAttributeError | ConfigKeyError):
        if "interval(" in str(error) and "requires --multirun" in str(error):
            return f"an interval is for {command('search')}: {one_line(error).partition(' requires')[0]}"
        return one_line(error) + (f": {cause}".partition("\n")[0] if cause else "")
    given = {override.key: override.value for override in typed}
    named = str(getattr(cause, "full_key", ""))
    key = next((key for key in given if f"{key}.".startswith(f"{named}.")), named)
    values, choices = _values_and_choices(config_name, typed)
    known = [*filter(is_for_users, values), *more_keys, "hydra.run.dir", "hydra/launcher"]
    group, _, name = key.rpartition(".")
    near = (meant(key, known) or "").replace("VALUE", given.get(key) or "VALUE")
    for each in [group] if group in choices else [] if group or near else choice_groups():
        if each in choices and (having := _having(each, name)):
            return f"{each}={choices[each]} has no key {name}; it is a key of {each}={', '.join(having)}"
    return f"unknown key {key}; " + (f"did you mean {near}?" if near else "--help all lists the keys")


def _no_such_choice(group: str, name: str, options: Collection[str]) -> str:
    """The error line for a name that is not one of a group's choices."""
    if group == "hydra/launcher" and name in _EXTRA_OF_LAUNCHER:
        return f"hydra/launcher={name} is not installed: {installing(_EXTRA_OF_LAUNCHER[name])}"
    if group == "hydra/sweeper":
        return f"{group}={name} does not exist: {command('search')} searches for hyperparameters"
    if group.startswith("data/") or (group == "data" and Path(expanded(name)).suffix):
        path = f"{group}/{name}".removeprefix("data/")
        return f"there is no file {path}: data= takes a file or folder of text, or the name of a corpus"
    known = {*options, *(choices_of(group) if (CONF / group).is_dir() else [])}
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    meant = f"did you mean {group}={near[0]}? " if near else ""
    listed = _ladder(known) if group == "model" else ", ".join(sorted(known))
    return f"{group}={name} does not exist; {meant}{group} can be {listed}"


def _ladder(stages: Collection[str]) -> str:
    """The stages of the ladder and a user's own, and how many others there are."""
    shown = [stage for stage in sorted(stages, key=rank) if not is_ablation(stage) and stage not in BESIDE]
    return f"{', '.join(shown)}; {command('train')} --help all lists {len(stages) - len(shown)} others"


def _having(group: str, name: str) -> list[str]:
    """The choices of a group that have this key."""
    contents: dict[str, Any] = {
        choice: OmegaConf.to_container(OmegaConf.load(CONF / group / f"{choice}.yaml")) for choice in choices_of(group)
    }
    return [choice for choice, content in contents.items() if name in content.get(group, content)]


def keys_for_users(config_name: str, typed: Sequence[Override] = ()) -> dict[str, Any]:
    """The keys that a user sets, with their values after these choices; search.py takes train.py's too."""
    values, _ = _values_and_choices(config_name, typed)
    if config_name == "search":
        values |= _values_and_choices("train", typed)[0]
    return {key: value for key, value in values.items() if is_for_users(key)}


def _values_and_choices(config_name: str, typed: Sequence[Override]) -> tuple[dict[str, Any], Mapping[str, str | None]]:
    """The choice for each group and the value of each key, with the choices on this command line; and the choices."""
    known = groups(config_name)
    chosen = []
    for word in (str(override) for override in typed if override.key in known):
        with suppress(HydraException):  # What cannot be read is reported when it is composed.
            if not OverridesParser.create().parse_override(word).is_sweep_override():
                chosen.append(word)
    content, settings = _composed_once(config_name, *chosen)
    choices = settings["runtime"]["choices"]
    return {group: choices.get(group) or "NAME" for group in known} | flat(content), choices


@cache
def _composed_once(config_name: str, *choices: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """`composed`, which takes a tenth of a second; conf/ stays as it is while a program runs."""
    return composed(config_name, [*choices])
