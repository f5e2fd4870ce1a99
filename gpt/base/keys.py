"""Keys of configurations: what the schema declares about each, and configurations flattened to dotted keys."""

from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from gpt.base.errors import RequestError, explain
from gpt.base.schema import Key, TrainConfig

_UNKNOWN = Key(compared=False, resumable=False)  # such as experiment, or Hydra's own


def compared(name: str, settings: Mapping[str, Any] | None = None) -> bool:
    """Whether this key or group of a run is compared with the documented run of its stage.

    `settings` are all keys of the run, flat: some count only if another is set.
    """
    key = _key(name)
    return key.compared and not _holds(key.unused_with, settings)


def resumable(name: str) -> bool:
    """Whether this key or group of train.yaml may change when a run is resumed."""
    return _key(name).resumable


def identifying(name: str) -> list[str]:
    """The keys that may not change when a run is resumed: this one, or those in it if it is a resumable group."""
    if not resumable(name.partition(".")[0]):
        return [name]
    return [
        key
        for key, declared in _declared(TrainConfig).items()
        if not declared.resumable and (key == name or key.startswith(f"{name}."))
    ]


def grouped(name: str, settings: Mapping[str, Any] | None = None) -> bool:
    """Whether runs that differ in this key are different settings in a ranking, not repetitions; see `compared`."""
    key = _key(name)
    return key.grouped and not _holds(key.unused_with, settings) and not _holds(key.repeated_with, settings)


def _holds(condition: Mapping[str, tuple[Any, ...]], settings: Mapping[str, Any] | None) -> bool:
    """Whether there is a condition, and these settings meet it."""
    return bool(condition) and all((settings or {}).get(other) in values for other, values in condition.items())


def matched(name: str) -> bool:
    """Whether resume=auto finds only runs that have the same value for this key."""
    return _key(name).matched


def literal(schema: type[BaseModel]) -> tuple[str, ...]:
    """The keys whose values are taken as typed, without Hydra's grammar."""
    return tuple(key for key, declared in _declared(schema).items() if declared.literal)


def escaping(schema: type[BaseModel]) -> tuple[str, ...]:
    r"""The keys whose values on the command line may have escapes, such as \n."""
    return tuple(key for key, declared in _declared(schema).items() if declared.escapes)


def textual(schema: type[BaseModel]) -> tuple[str, ...]:
    """The keys whose values are text, or lists of texts, even if they look like numbers."""
    return (*literal(schema), *(key for key, field in schema.model_fields.items() if _takes_text(field.annotation)))


def _takes_text(annotation: Any) -> bool:
    if get_origin(annotation) in (Literal, dict):
        return False
    return annotation is str or any(map(_takes_text, get_args(annotation)))


@lru_cache(2**10)
def _key(name: str) -> Key:
    """The declaration of a key of train.yaml, or of the innermost group around it."""
    declared = _declared(TrainConfig)
    while name and name not in declared:
        name = name.rpartition(".")[0]
    return declared.get(name, _UNKNOWN)


@cache
def _declared(schema: type[BaseModel]) -> dict[str, Key]:
    """All annotations of a schema, by dotted key."""

    def walk(schema: type[BaseModel], prefix: str) -> Iterator[tuple[str, Key]]:
        for name, field in schema.model_fields.items():
            for annotation in field.metadata:
                if isinstance(annotation, Key):
                    yield prefix + name, annotation
                    yield from ((f"{prefix}{name}.{inner}", key) for inner, key in annotation.within.items())
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                yield from walk(field.annotation, f"{prefix}{name}.")

    return dict(walk(schema, ""))


def checked_values(schema: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of keys of a schema, with ~ expanded in paths. Raises RequestError for one that its key may not have."""
    checked = {}
    for name, value in values.items():
        field = schema.model_fields[name]
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type]
            checked[name] = adapter.validate_python(value, strict=True)
        except ValidationError as error:
            raise RequestError(explain(error, name)) from None
    return checked


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
