"""What is wrong with a command, in one line: in Hydra's words, or with what to type instead."""

import difflib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException

from gpt.base.console import command
from gpt.base.errors import RequestError
from gpt.base.installation import CONF, installing
from gpt.base.ladder import BESIDE, is_ablation, rank
from gpt.base.paths import expanded
from gpt.config.conf import choices_of
from gpt.config.keys import choice_groups, read_conf_file
from gpt.config.synonyms import meant
from gpt.config.values import as_typed

# The extra that hydra/launcher=NAME needs; hydra/launcher=slurm extends submitit_slurm.
_EXTRA_OF_LAUNCHER = {"joblib": "sweep", "submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray"}


def one_line(error: BaseException) -> str:
    """An error's own words in one line."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def explained() -> Iterator[None]:
    """Turn an error of Hydra about a choice or about a sweep into one line."""
    try:
        yield
    except HydraException as error:
        raise RequestError(_explain(error)) from error
    except yaml.YAMLError as error:
        raise RequestError(one_line(error)) from error
    except (ValueError, TypeError, RecursionError, AssertionError) as error:
        raise RequestError(f"Hydra cannot compose these settings: {one_line(error)}") from error


def _explain(error: HydraException) -> str:
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        if error.options or group.startswith(("data/", "hydra/")):
            return unknown_choice(group, name, error.options or ())
    cause = error.__cause__
    if isinstance(error, OverrideParseException):
        if isinstance(cause, ValueError):  # of a function of the grammar
            return f"cannot read {error.override!r}: {one_line(cause)}"
        return f"cannot read {error.override!r} as key=value; quote special characters: key='\"a, b\"'"
    return one_line(error) + (f": {cause}".partition("\n")[0] if cause else "")


def unknown_choice(group: str, name: str, options: Collection[str] = ()) -> str:
    """The error line for a name that is not one of a group's choices."""
    if group == "hydra/launcher" and name in _EXTRA_OF_LAUNCHER:
        return f"hydra/launcher={name} is not installed: {installing(_EXTRA_OF_LAUNCHER[name])}"
    if group == "hydra/sweeper":
        return f"{group}={name} does not exist: {command('search')} searches for hyperparameters"
    if group.startswith("data/") or (group == "data" and Path(expanded(name)).suffix):
        path = f"{group}/{name}".removeprefix("data/")
        return f"there is no file {path}: data= takes a file or folder of text, or the name of a corpus"
    if "," in name:
        return f"{group}={name} does not exist: several values are a sweep, with -m"
    known = {*options, *(choices_of(group) if (CONF / group).is_dir() else [])}
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    meant = f"did you mean {group}={near[0]}? " if near else ""
    listed = _ladder(known) if group == "model" else ", ".join(sorted(known))
    return f"{group}={name} does not exist; {meant}{group} can be {listed}"


def _ladder(stages: Collection[str]) -> str:
    """The stages of the ladder and a user's own, and how many others there are."""
    shown = [stage for stage in sorted(stages, key=rank) if not is_ablation(stage) and stage not in BESIDE]
    return f"{', '.join(shown)}; {command('train')} --help all lists {len(stages) - len(shown)} others"


def unknown_key(key: str, value: Any, known: Collection[str], choices: Mapping[str, Any]) -> str:
    """The error line for a key that does not exist; `known` are those that do, `choices` those of groups."""
    group, _, name = key.rpartition(".")
    near = (meant(key, known) or "").replace("VALUE", as_typed(value))
    for each in [group] if group in choices else [] if group or near else choice_groups():
        if each in choices and (having := _having(each, name)):
            return f"{each}={choices[each]} has no key {name}; it is a key of {each}={', '.join(having)}"
    return f"unknown key {key}; " + (
        f"did you mean {near}?" if near else f"--help{' all' if choices else ''} lists the keys"
    )


def _having(group: str, name: str) -> list[str]:
    """The choices of a group that have this key."""
    contents = {choice: read_conf_file(CONF / group / f"{choice}.yaml") for choice in choices_of(group)}
    return [choice for choice, content in contents.items() if name in content.get(group, content)]
