"""The command line: Hydra's options, and what is set, read once."""

import difflib
import itertools
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from hydra.errors import HydraException
from hydra.types import RunMode
from pydantic import BaseModel

from gpt.base.errors import RequestError
from gpt.base.installation import CONF
from gpt.base.typed import expanded
from gpt.config.composing import own_configuration, settings_with
from gpt.config.explanations import keys_for_users
from gpt.config.override import Override
from gpt.config.synonyms import by_name
from gpt.config.words import overrides_of

_CONFIG_DIR, _INFO, _MULTIRUN = ("--config-dir", "-cd"), ("--info", "-i"), ("--multirun", "-m")
# Hydra's options, with the values that may follow them; None: anything.
_OPTIONS: dict[str, tuple[str, ...] | None] = {
    **dict.fromkeys(("--help", "-h", "--hydra-help", "--version", "--resolve", "--run", "-r", *_MULTIRUN,
                     "--shell-completion", "-sc"), ()),
    **dict.fromkeys(("--cfg", "-c"), ("job", "hydra", "all")),
    **dict.fromkeys(_INFO, ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")),
    **dict.fromkeys(("--package", "-p", "--config-path", "-cp", "--config-name", "-cn",
                     *_CONFIG_DIR, "--experimental-rerun"), None),
}  # fmt: skip
_DASHED = re.compile(r"-(-|[A-Za-z])")  # -m or --lr, but not -1
_values = cache(keys_for_users)
_COMPLETION = ("install", "uninstall", "query")  # what --shell-completion takes


@dataclass(frozen=True)
class CommandLine:
    """The words of a command, read. Hydra's argparse takes the options first."""

    typed: tuple[str, ...]
    options: tuple[str, ...]  # such as -m, or --config-dir and DIR
    overrides: tuple[Override, ...]  # under full keys
    is_sweep: bool  # it is for several jobs: -m, or an experiment that sweeps

    @classmethod
    def read(cls, words: Sequence[str], config_name: str, schema: type[BaseModel]) -> "CommandLine":
        """Raises RequestError for an option that does not exist or lacks its value, or a word that has no place."""
        options, rest = _divided(words, config_name)
        is_sweep = not {*_MULTIRUN}.isdisjoint(options)
        overrides = overrides_of(rest, config_name, schema, is_sweep=is_sweep)
        is_sweep = is_sweep or any(_sweeps(override, _config_dirs(options)) for override in overrides)
        return cls(tuple(words), tuple(options), tuple(overrides), is_sweep)

    def refuse_hidden(self) -> None:
        """Raise RequestError if Hydra would ignore a file in a --config-dir because conf/ has one of the same name."""
        for folder in _config_dirs(self.options):
            for path in sorted(folder.rglob("*.yaml")):
                if (CONF / path.relative_to(folder)).exists():
                    raise RequestError(f"{path} has the same name as a file in conf/, which would be used: rename it")

    def divided(self, keys: Collection[str]) -> tuple["CommandLine", tuple[Override, ...]]:
        """The command line without the overrides of other keys than these, and those, for train.py."""
        own = [each for each in self.overrides if each.key in keys or each.key in _COMPLETION]
        return replace(self, overrides=tuple(own)), tuple(each for each in self.overrides if each not in own)

    def for_hydra(self, overrides: Sequence[Override]) -> list[str]:
        """The words for Hydra, which must know the mode and the folder before composing, with these overrides."""
        mode = ["hydra.mode=MULTIRUN"] if self.is_sweep and {*_MULTIRUN}.isdisjoint(self.options) else []
        given = {each.key: each.text for each in overrides}
        if (
            self.is_sweep
            and re.fullmatch(r"(?!null$)[\w.+-]+", given.get("name", ""))
            and "hydra.sweep.dir" not in given
        ):
            mode.append(f"hydra.sweep.dir=${{runs}}/${{now:%Y-%m-%d}}/${{now:%H-%M-%S}}_{given['name']}")
        return [*self.options, *mode, *map(str, overrides)]


def _divided(words: Sequence[str], config_name: str) -> tuple[list[str], list[str]]:
    """The options with their values, and the other words, with --lr 3e-4 among them as lr=3e-4."""
    options, rest, remaining = [], [], list(words)
    while remaining:
        word = remaining.pop(0)
        typed = Override.parse(word)
        option, value = typed.key, typed.value
        # Hydra's own --run says what is so without it.
        if option not in _OPTIONS or (option == "--run" and "run" in _values(config_name)):
            is_key = word.startswith("--") or (_DASHED.match(word) and config_name != "tag")  # -wide takes a tag away
            rest.append(str(_setting(typed, remaining, config_name)) if is_key else word)
            continue
        choices = _OPTIONS[option]
        if choices == ():
            if value is not None:
                raise RequestError(f"{option} takes no value")
            options.append(option)
            continue
        if value is None and remaining and (choices is None or remaining[0] in choices):
            value = remaining.pop(0)
        value = value or ("all" if option in _INFO else "")
        if not value or (choices is not None and value not in choices):
            raise RequestError(f"{option} needs {'a value' if choices is None else 'one of ' + ', '.join(choices)}")
        options += [option, expanded(value) if option in (*_CONFIG_DIR, "--config-path", "-cp") else value]
    return options, rest


def _config_dirs(options: Sequence[str]) -> list[Path]:
    return [Path(folder) for option, folder in itertools.pairwise(options) if option in _CONFIG_DIR]


def _sweeps(override: Override, folders: Sequence[Path]) -> bool:
    """Whether an override makes a sweep of the command: an experiment does, if its file says so."""
    if override.key == "hydra.mode":
        return override.text == RunMode.MULTIRUN.name
    with suppress(HydraException, ValueError):  # Hydra reports the error
        if override.key == "experiment":
            with own_configuration():
                return settings_with(str(override), folders).mode == RunMode.MULTIRUN
    return False


def _setting(option: Override, following: list[str], config_name: str) -> Override:
    """The setting that a key with dashes stands for; its value may be the first of the words that follow.

    Raises RequestError if it has no value, or is similar to an option.
    """
    key, values = option.key.lstrip("-").replace("-", "_"), _values(config_name)
    value, full = option.value, by_name(values).get(key, key)
    near = difflib.get_close_matches(option.key.replace("_", "-"), _OPTIONS, n=1, cutoff=0.75)
    if near and full not in {*values, "config"}:  # words.py takes --config FILE
        raise RequestError(f"there is no option {option.key}: did you mean {near[0]}?")
    is_switch, after = isinstance(values.get(full), bool), (following or ["--"])[0]
    if value is None and (after.lower() in ("true", "false") if is_switch else not _DASHED.match(after)):
        value = following.pop(0)
    if value is None and full in values and not is_switch:
        raise RequestError(f"{option.key} needs a value")
    return Override(key, "true" if value is None else value)
