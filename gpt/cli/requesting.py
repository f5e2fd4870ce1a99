"""Requests: from a Hydra job, or from overrides composed without a job."""

import functools
import operator
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import BaseModel

from gpt.base import console
from gpt.base.errors import RequestError, printable
from gpt.base.installation import CONF
from gpt.base.typed import as_typed, expanded, in_quotes, unescaped, unquoted
from gpt.cli import arguments, bare_words, sweeps
from gpt.cli.explanations import explain_composition
from gpt.cli.failing import is_sweep, job_overrides
from gpt.config.composing import composed_tree, own_configuration
from gpt.config.keys import check_one_length, flat
from gpt.config.request import Destination, Request
from gpt.config.schema import TrainConfig

# A key that is in a group itself if a file of it lacks its package line (None: any), and where its keys belong.
_PACKAGES = {
    "model": ("adds", "_global_"),
    "logger": ("_target_", "logger.NAME"),
    "metrics": ("_target_", "metrics.NAME"),
    "experiment": (None, "_global_"),
    "debug": (None, "_global_"),
}


def of_job(config_name: str, typed: Sequence[str], config: BaseModel, rest: Sequence[str]) -> Request:
    """The request of the current Hydra job: `typed` is the command line, `config` is what it says.

    A new run goes to hydra.run.dir, to the folder of its sweep, or below `runs` by date and time.
    """
    settings = HydraConfig.get()
    overrides, options = job_overrides(), _options(settings)
    said = [*options, *overrides] if is_sweep() else typed  # of a sweep, the job's own
    request = replace(_request(config, settings, overrides, options, _command(config_name, said)), rest=tuple(rest))
    if isinstance(config, TrainConfig) and "stage" in request.given:
        raise RequestError(f"stage={config.stage} is set by model=NAME; do not set it yourself")
    if is_sweep():
        sweep, subdir = Path(expanded(settings.sweep.dir)), settings.sweep.subdir
        destination = Destination(
            Path(getattr(config, "runs", ".")),
            sweep,
            f"{settings.job.num:03d}_",
            None if subdir == "." else sweep / subdir,
            sweep,
            sweeps.swept_keys(),
        )
        return replace(request, destination=destination)
    return request


def of_overrides(
    overrides: Sequence[str], options: Sequence[str] = (), *, has_escapes: bool = True
) -> tuple[TrainConfig, Request]:
    """The configuration that `python train.py OPTIONS OVERRIDES` would train, and its request.

    Raises RequestError or ValidationError for overrides that cannot be composed or have invalid values.
    """
    with composition(overrides, has_escapes=has_escapes) as (values, settings):
        config = TrainConfig.model_validate(values)
        return config, _request(config, settings, overrides, options, _command("train", [*options, *overrides]))


def _request(
    config: BaseModel, settings: Any, overrides: Sequence[str], options: Sequence[str], command: str
) -> Request:
    """A request whose new run is created below `runs`, unless Hydra's `settings` say where."""
    given = tuple(map(_key, overrides))
    if isinstance(config, TrainConfig):
        check_one_length(given, flat(config.content()))
    now, runs = datetime.now(), Path(getattr(config, "runs", "."))
    folder = None if settings.run.dir == "." else Path(expanded(settings.run.dir))
    main = next(source.path for source in settings.runtime.config_sources if source.provider == "main")
    return Request(
        given,
        command,
        Destination(runs, runs / f"{now:%Y-%m-%d}", f"{now:%H-%M-%S}_", folder),
        resume=getattr(config, "resume", None),
        options=tuple(options),
        foreign=() if Path(main) == CONF else (f"--config-path={main}",),
    )


def of_python(overrides: Sequence[str], values: Mapping[str, object] | None = None) -> tuple[TrainConfig, Request]:
    """The same from Python, even if something else uses Hydra in this process; `values` by the last part of a key."""
    values = values or {}
    words = [*overrides, *(f"{name}={as_typed(value)}" for name, value in values.items())]
    typed = bare_words.keyed(words, "train", TrainConfig, has_escapes=False)
    with own_configuration():
        config, request = of_overrides(typed, has_escapes=False)
    said = [*map(repr, overrides), *(f"{name}={value!r}" for name, value in values.items())]
    return config, replace(request, command=f"gpt.train({', '.join(said)})")


@contextmanager
def composition(
    overrides: Sequence[str], more_keys: Iterable[str] = (), *, has_escapes: bool = True
) -> Iterator[tuple[dict[str, Any], Any]]:
    """Compose train.yaml with these overrides: its values, and Hydra's settings, which are active in the context."""
    quoted, texts = arguments.quoted(list(map(_with_literal_folder, overrides)), TrainConfig, has_escapes=has_escapes)
    with ExitStack() as stack:
        with explained(quoted, more_keys):
            tree, settings = stack.enter_context(composed_tree(quoted))
        yield resolved(tree, texts), settings


@contextmanager
def explained(overrides: list[str], more_keys: Iterable[str] = ()) -> Iterator[None]:
    """Turn Hydra's errors about these overrides of train.py into one line; `more_keys` are further valid keys."""
    try:
        yield
    except HydraException as error:
        raise RequestError(explain_composition(error, "train", overrides, more_keys)) from error


def resolved(config: DictConfig, texts: Mapping[str, str | list[str]], escaped: Iterable[str] = ()) -> Any:
    """The configuration as plain dictionaries, with references resolved and the literal texts inserted.

    In the keys `escaped` that this job of a sweep was given, escapes are replaced.
    """
    if "training" in config and "model" not in config:
        raise RequestError("model is required: choose one with model=NAME")
    _check_packages(config)
    try:
        for key in texts:
            OmegaConf.update(config, key, "")  # a literal text is never parsed as a reference or a missing value
        resolved: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise RequestError(f"{error.full_key} is required: add {error.full_key}=VALUE") from error
    except OmegaConfBaseException as error:
        raise RequestError(f"{error.full_key}: {str(error).partition(chr(10))[0]}") from error
    given = {_key(override) for override in job_overrides()} if escaped else set()
    for key in {*texts, *given.intersection(escaped)}:
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


def _options(settings: Any) -> list[str]:
    """The option --config-dir, if given; a command must repeat it to compose the same configuration."""
    sources = settings.runtime.config_sources
    return [f"--config-dir={source.path}" for source in sources if source.provider == "command-line"]


def _command(script: str, typed: Sequence[str]) -> str:
    return printable(f"{console.command(script)} {shlex.join(typed)}")


def _with_literal_folder(override: str) -> str:
    """The override; if it names the run folder, the name is quoted: that of a search's trial may be any."""
    key, _, value = override.partition("=")
    return f"{key}={in_quotes(unquoted(value))}" if key == "hydra.run.dir" and value else override


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")
