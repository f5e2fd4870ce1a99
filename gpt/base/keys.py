"""Keys of configurations: what the schema declares about each, and configurations flattened to dotted keys."""

import ast
import contextlib
import importlib.util
from collections.abc import Collection, Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel

from gpt.base.choices import Choice, Registry, validated
from gpt.base.errors import RequestError
from gpt.base.installation import CONF
from gpt.base.schema import SETTING_FILES, Key, TrainConfig

_Yaml = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # --help reads the files of all stages
_UNKNOWN = Key(same=False, compared=False, resumable=False)  # such as Hydra's own


@lru_cache(2**10)
def declared(name: str) -> Key:
    """The declaration of a key of train.yaml, or of the innermost group around it."""
    keys, group, hyperparameter = _declared(TrainConfig), *name.partition(".")[::2]
    if name not in keys and group in keys and (path := keys[group].if_path) and hyperparameter in _paths(group):
        return path
    while name and name not in keys:
        name = name.rpartition(".")[0]
    return keys.get(name, _UNKNOWN)


def having(what: str) -> list[str]:
    """The keys and groups of train.yaml whose declaration says this, such as is_label."""
    return [name for name, key in _declared(TrainConfig).items() if getattr(key, what)]


def choice_groups(*, several: bool = False) -> list[str]:
    """The groups that take exactly one choice or, if `several`, any number of them by name."""
    kinds = {name: field.annotation for name, field in TrainConfig.model_fields.items()}
    return [name for name, kind in kinds.items() if (Choice in get_args(kind) if several else kind is Choice)]


def compared(name: str, settings: Mapping[str, Any] | None = None) -> bool:
    """Whether this key or group of a run is compared with the documented run of its stage.

    `settings` are all keys of the run, flat: some count only if another is set.
    """
    key = declared(name)
    return key.is_compared and not _holds(key.unused_with, settings)


def grouped(name: str, settings: Mapping[str, Any] | None = None) -> bool:
    """Whether runs that differ in this key are different settings in a ranking, not repetitions; see `compared`."""
    key = declared(name)
    deciding = [other for other in having("decides") if declared(other).decides == name and not declared(other).same]
    if any((settings or {}).get(other) is not None for other in deciding):  # which tell runs apart by themselves
        return False
    return not (key.same or _holds(key.unused_with, settings) or _holds(key.repeated_with, settings))


def fixed_by(name: str, settings: Mapping[str, Any]) -> str | None:
    """The key for whose value, among `settings`, this key may not change when a run is resumed; None if it may."""
    values = declared(name).fixed_unless
    return next((other for other, free in values.items() if settings.get(other) not in free), None)


def identifying(name: str) -> list[str]:
    """The keys that must be equal to resume a run with another value of this key, or with another choice of a group."""
    key, group = declared(name), name.partition(".")[0]
    if key.of_folder or (key.resumable and name != group):
        return []
    if key.identified_by and name == group:
        return [key.identified_by]
    if not declared(group).resumable:
        return [name]
    within = _declared(TrainConfig).items()
    return [other for other, own in within if not own.resumable and (other == name or other.startswith(f"{name}."))]


def superseded(given: Collection[str]) -> list[str]:
    """The keys that no longer count, because what they decide is among the `given` ones."""
    return [name for name in having("decides") if declared(name).decides in given and name not in given]


def check_decided(given: Collection[str], settings: Mapping[str, Any]) -> None:
    """Raise RequestError if a given key has no effect, because another one decides what it would."""
    for name in having("decides"):
        if (decided := declared(name).decides) in given and settings.get(name) is not None:
            raise RequestError(f"{decided}= has no effect with {name}=: give only one of them, or {name}=null")


def _holds(condition: Mapping[str, tuple[Any, ...]], settings: Mapping[str, Any] | None) -> bool:
    """Whether there is a condition, and these settings meet it."""
    return bool(condition) and all((settings or {}).get(other) in values for other, values in condition.items())


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
    """The defaults of a choice of this package; {} for anything else, such as a module of the calling program."""
    package = _declared(TrainConfig)[group].package
    registry = Registry(group, "a choice", package, "defined there", callable)
    with contextlib.suppress(RequestError):
        parameters = registry.hyperparameters(registry.find(Choice(_target_=target)))
        return {name: p.default for name, p in parameters.items() if p.default is not p.empty}
    return {}


def unusual(group: str, choice: Choice) -> dict[str, Any]:
    """The hyperparameters of a choice whose values are neither those of a file in conf/ nor their defaults."""
    usual = _usual(group, choice.target)
    return {key: value for key, value in choice.hyperparameters.items() if (key, value) not in usual}


@cache
def _usual(group: str, target: str) -> list[tuple[str, Any]]:
    files = map(written, (CONF / group).rglob("*.yaml"))
    settings = [content for content in files if content.get("_target_") == target] or [{}]
    return [pair for content in settings for pair in (defaults(group, target) | content).items()]


def written(path: Path) -> dict[str, Any]:
    """What a file of conf/ says."""
    content: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), _Yaml)
    return content


@cache
def _paths(group: str) -> frozenset[str]:
    """The hyperparameters of a group that are annotated as paths.

    The sources are parsed, because importing them imports torch, for which the completion of a command cannot wait.
    """
    package = importlib.util.find_spec(_declared(TrainConfig)[group].package)
    folder = Path((package and package.origin) or "").parent
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in folder.rglob("*.py"))
    return frozenset(
        node.arg
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.arg)
        and node.annotation
        and ast.unparse(node.annotation).removesuffix(" | None") in ("PathName", "PathNames")
    )


def literal(schema: type[BaseModel], name: str) -> bool:
    """Whether the value of a key is taken as typed, without Hydra's grammar."""
    keys, group = _declared(schema), name.partition(".")[0]
    if name in keys:
        return keys[name].literal
    return group in keys and keys[group].if_path is not None and declared(name).literal


def escaping(schema: type[BaseModel]) -> tuple[str, ...]:
    r"""The keys whose values on the command line may have escapes, such as \n."""
    return tuple(key for key, declared in _declared(schema).items() if declared.escapes)


def runs_of(schema: type[BaseModel], name: str) -> Literal["", "one", "several"]:
    """Whether the value of a key is one run or several runs, as a user calls them."""
    return _declared(schema).get(name, _UNKNOWN).of_run


def takes_list(schema: type[BaseModel], name: str) -> bool:
    """Whether a list in the value of a literal key is one, rather than text."""
    keys = _declared(schema)
    return name in keys and keys[name].listed


def textual(schema: type[BaseModel], name: str) -> bool:
    """Whether the value of a key is text, or a list of texts, even if it looks like a number."""

    def takes_text(annotation: Any) -> bool:
        if get_origin(annotation) in (Literal, dict):
            return False
        return annotation is str or any(map(takes_text, get_args(annotation)))

    field = schema.model_fields.get(name)
    return literal(schema, name) or (field is not None and takes_text(field.annotation))


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


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    result: dict[str, Any] = {}
    for key, value in tree.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The values of `after` that differ from those of `before`, as key=value; a choice shows as model=GPT."""
    old, new = flat(before), flat(after)
    return [shown(key, value) for key, value in new.items() if key not in old or old[key] != value]


def shown(key: str, value: Any) -> str:
    """key=value; for a choice, the bare name: data=text for data._target_=gpt.data.corpora.text."""
    if key.endswith("._target_"):
        return f"{key.removesuffix('._target_')}={str(value).rpartition('.')[2]}"
    return f"{key}={value}"
