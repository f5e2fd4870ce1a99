"""Keys of configurations: what the schema declares about each, and configurations flattened to dotted keys."""

import contextlib
import inspect
from collections.abc import Collection, Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, get_args

import yaml
from pydantic import BaseModel

from gpt.base.errors import RequestError
from gpt.base.installation import CONF
from gpt.config.schema import ASIDE, SETTING_FILES, Key, TrainConfig
from gpt.registry import Choice, Registry, validated

YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # --help reads the files of all stages
FIXED = ("setting", "measure", "repeat", "rounding", "stated")  # roles of the keys that a resumed run keeps
LENGTHS = ("training.max_iters", "training.epochs", "training.seconds")  # the last two decide the first


@lru_cache(2**10)
def declared(name: str) -> Key:
    """The declaration of a key of train.yaml, or of the innermost group around it; of any other key, `ASIDE`."""
    keys = _declared(TrainConfig)
    while name and name not in keys:
        name = name.rpartition(".")[0]
    return keys.get(name, ASIDE)


def choice_groups(*, several: bool = False) -> list[str]:
    """The groups that take exactly one choice or, if `several`, any number of them by name."""
    kinds = {name: field.annotation for name, field in TrainConfig.model_fields.items()}
    return [name for name, kind in kinds.items() if (Choice in get_args(kind) if several else kind is Choice)]


def is_compared(name: str) -> bool:
    """Whether this key or group of a run is compared with the documented run of its stage."""
    return declared(name).role in ("setting", "length")


def identity_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a run's settings, flat, that are equal for repetitions: the stage, and what sets its results apart."""
    kept = {key: value for key, value in settings.items() if key == "stage" or is_compared(key)}
    if settings["training.seconds"] is not None:  # The clock has decided how many iterations there are.
        del kept["training.max_iters"]
    return kept


def check_one_length(given: Collection[str], settings: Mapping[str, Any]) -> None:
    """Raise RequestError if max_iters is given beside epochs or seconds, which would decide it."""
    for name in LENGTHS[1:]:
        if LENGTHS[0] in given and settings.get(name) is not None:
            raise RequestError(f"{LENGTHS[0]}= has no effect with {name}=: give only one of them, or {name}=null")


def completed(content: Mapping[str, Any], like: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A configuration with the defaults of its choices, or of those of the configuration `like`, for what it lacks.

    So a run that is older than a hyperparameter has the value that the hyperparameter has by default.
    """
    found = dict(content)
    for group in choice_groups():
        target = (content if like is None else like)[group]["_target_"]
        found[group] = defaults(group, target) | found[group]
    return found


@cache
def defaults(group: str, target: str) -> dict[str, Any]:
    """The defaults of a choice; {} for code that this process was not given."""
    found = {name: p.default for name, p in parameters(group, target).items() if p.default is not p.empty}
    return {name: [*value] if isinstance(value, tuple) else value for name, value in found.items()}


def parameters(group: str, target: str) -> dict[str, inspect.Parameter]:
    """What a choice takes, by name; {} for code that this process was not given."""
    package, also = _declared(TrainConfig)[group].package, "torch.optim" if group == "optimizer" else ""
    registry = Registry(group, "a choice", package, "defined there", callable, also=also)
    with contextlib.suppress(RequestError):
        return registry.hyperparameters(registry.find(Choice(_target_=target)))
    return {}


def unusual(group: str, choice: Choice) -> dict[str, Any]:
    """The hyperparameters of a choice whose values are neither those of a file in conf/ nor their defaults."""
    usual = _usual(group, choice.target)
    return {key: value for key, value in choice.hyperparameters.items() if (key, value) not in usual}


@cache
def _usual(group: str, target: str) -> list[tuple[str, Any]]:
    files = map(read_conf_file, (CONF / group).rglob("*.yaml"))
    settings = [content for content in files if content.get("_target_") == target] or [{}]
    return [pair for content in settings for pair in (defaults(group, target) | content).items()]


def read_conf_file(path: Path) -> dict[str, Any]:
    """What a file of conf/ says."""
    content: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), YAML)
    return content


@cache
def _declared(schema: type[BaseModel]) -> dict[str, Key]:
    """All annotations of a schema, by dotted key; of train.yaml, also what `experiment` and `debug` are."""

    def walk(schema: type[BaseModel], prefix: str) -> Iterator[tuple[str, Key]]:
        for name, field in schema.model_fields.items():
            for annotation in field.metadata:
                if isinstance(annotation, Key):
                    yield prefix + name, annotation
                    yield from ((f"{prefix}{name}.{inner}", key) for inner, key in annotation.within.items())
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                yield from walk(field.annotation, f"{prefix}{name}.")

    return dict(walk(schema, "")) | (SETTING_FILES if schema is TrainConfig else {})


def checked_values(schema: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of keys of a schema, with ~ expanded in paths. Raises RequestError for one that its key may not have."""
    fields = {name: schema.model_fields[name] for name in values}
    return {name: validated(Annotated[fields[name].annotation, fields[name]], values[name], name) for name in values}


def flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    return dict(leaves(tree))


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each dotted key with its value; one that is there twice, nested and dotted, comes twice."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The values of `after` that differ from those of `before`, as key=value; a choice shows as model=GPT."""
    old, new = flat(before), flat(after)
    return [format_setting(key, value) for key, value in new.items() if key not in old or old[key] != value]


def format_setting(key: str, value: Any) -> str:
    """key=value; for a choice, the bare name: data=text for data._target_=gpt.data.corpora.text."""
    if key.endswith("._target_"):
        return f"{key.removesuffix('._target_')}={str(value).rpartition('.')[2]}"
    return f"{key}={value}"
