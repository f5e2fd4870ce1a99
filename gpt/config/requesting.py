"""Configurations and requests from what was typed, without a Hydra job."""

import functools
import operator
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import BaseModel

from gpt.base import console
from gpt.base.errors import RequestError, printable
from gpt.base.installation import CONF
from gpt.base.typed import as_typed, expanded, unescaped
from gpt.config.composing import composed_tree, own_configuration
from gpt.config.explanations import explain_composition, one_line
from gpt.config.given_code import of_program
from gpt.config.grammar import Texts, quoted
from gpt.config.keys import check_one_length, flat
from gpt.config.override import Override
from gpt.config.request import Destination, Request
from gpt.config.schema import TrainConfig
from gpt.config.words import overrides_of

# A key that is in a group itself if a file of it lacks its package line (None: any), and where its keys belong.
_PACKAGES = {
    "model": ("adds", "_global_"),
    "logger": ("_target_", "logger.NAME"),
    "metrics": ("_target_", "metrics.NAME"),
    "experiment": (None, "_global_"),
    "debug": (None, "_global_"),
}


def of_overrides(
    overrides: Sequence[Override], folders: Sequence[str] = (), *, has_escapes: bool = True
) -> tuple[TrainConfig, Request]:
    """The configuration that train.py would train with these overrides, under full keys, and its request.

    Raises RequestError or ValidationError for overrides that cannot be composed or have invalid values.
    """
    with composition(overrides, has_escapes=has_escapes) as (values, settings):
        config = TrainConfig.model_validate(values)
        request = request_of(config, settings, overrides, folders)
        return config, replace(request, command=command_line("train", [*request.options, *map(str, overrides)]))


def request_of(config: BaseModel, settings: Any, overrides: Sequence[Override], folders: Sequence[str] = ()) -> Request:
    """A request whose new run is created below `runs`, unless Hydra's `settings` say where."""
    given = tuple(override.key for override in overrides)
    if isinstance(config, TrainConfig):
        check_one_length(given, flat(config.content()))
    now, runs = datetime.now(), Path(getattr(config, "runs", "."))
    is_given = settings.run.dir != "." or "hydra.run.dir=." in settings.overrides.hydra
    folder = Path(expanded(settings.run.dir)) if is_given else None
    main = next(source.path for source in settings.runtime.config_sources if source.provider == "main")
    destination = Destination(runs, runs / f"{now:%Y-%m-%d}", f"{now:%H-%M-%S}_", folder)
    return Request(given, "", destination, tuple(folders), None if Path(main) == CONF else main)


def command_line(script: str, typed: Sequence[str]) -> str:
    """The command as one would type it, in one line."""
    return printable(f"{console.command(script)} {shlex.join(typed)}")


def of_python(words: Sequence[str], values: Mapping[str, object] | None = None) -> tuple[TrainConfig, Request]:
    """The same from Python, even if something else uses Hydra in this process; `values` by the last part of a key."""
    values = values or {}
    given = {name: of_program(name, value) if callable(value) else as_typed(value) for name, value in values.items()}
    typed = [*words, *(f"{name}={value}" for name, value in given.items())]
    overrides = overrides_of(typed, "train", TrainConfig, has_escapes=False)
    with own_configuration():
        config, request = of_overrides(overrides, has_escapes=False)
    said = [*map(repr, words), *(f"{name}={value!r}" for name, value in values.items())]
    return config, replace(request, command=f"gpt.train({', '.join(said)})")


@contextmanager
def composition(
    overrides: Sequence[Override], more_keys: Iterable[str] = (), *, has_escapes: bool = True
) -> Iterator[tuple[dict[str, Any], Any]]:
    """Compose train.yaml with these overrides: its values, and Hydra's settings, which are active in the context.

    `more_keys` are further valid keys, for messages.
    """
    made, texts = quoted(overrides, TrainConfig, has_escapes=has_escapes)
    with ExitStack() as stack:
        with explained(made, more_keys):
            tree, settings = stack.enter_context(composed_tree([*map(str, made)]))
        yield resolved(tree, texts), settings


@contextmanager
def explained(overrides: Sequence[Override], more_keys: Iterable[str] = ()) -> Iterator[None]:
    """Turn Hydra's errors about these overrides of train.py into one line; `more_keys` are further valid keys."""
    try:
        yield
    except HydraException as error:
        raise RequestError(explain_composition(error, "train", overrides, more_keys)) from error
    except (ValueError, TypeError, RecursionError, AssertionError) as error:
        raise RequestError(f"Hydra cannot compose these settings: {one_line(error)}") from error


def resolved(config: DictConfig, texts: Texts, escaped: Collection[str] = ()) -> Any:
    """The configuration as plain dictionaries, with references resolved and the literal texts inserted.

    In the values of the keys `escaped`, escapes are replaced.
    """
    _check_packages(config)
    try:
        for key in texts:
            OmegaConf.update(config, key, "")  # a literal text is never parsed as a reference or a missing value
        resolved: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise RequestError(f"{error.full_key} is required: add {error.full_key}=VALUE") from error
    except OmegaConfBaseException as error:
        raise RequestError(f"{error.full_key}: {str(error).partition(chr(10))[0]}") from error
    for key in {*texts, *escaped}:
        *groups, name = key.split(".")
        content = functools.reduce(operator.getitem, groups, resolved)
        if key in texts:
            content[name] = texts[key]
        elif isinstance(found := content.get(name), str | list):
            content[name] = unescaped(found) if isinstance(found, str) else [*map(unescaped, found)]
    return resolved


def _check_packages(config: DictConfig) -> None:
    """Raise RequestError if a file lacks the line that says where its keys belong."""
    for group, (stray, package) in _PACKAGES.items():
        if isinstance(content := config.get(group), DictConfig) and (stray is None or stray in content):
            raise RequestError(f"the file of this {group} lacks the line '# @package {package}' at its top")
