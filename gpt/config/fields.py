"""The keys of a schema: dotted names with the type, the default and the meaning of each."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gpt.config.schema import Schema


@cache
def fields_of(schema: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """The fields of a schema, and those of the schemas in it, by their dotted keys."""
    return dict(_walk(schema, ""))


def _walk(schema: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in schema.model_fields.items():
        key, kind = f"{prefix}{field.alias or name}", field.annotation
        yield key, field
        if isinstance(kind, type) and issubclass(kind, Schema):
            yield from _walk(kind, f"{key}.")


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """{"a.b": 1} -> {"a": {"b": 1}}."""
    tree: dict[str, Any] = {}
    for key, value in settings.items():
        put(tree, key, value)
    return tree


def put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set a value under a dotted key; the groups around it are made where they are missing."""
    *groups, name = key.split(".")
    for group in groups:
        if not isinstance(tree.get(group), dict):
            tree[group] = {}
        tree = tree[group]
    tree[name] = value


def kind_of_field(field: FieldInfo) -> Any:
    """The annotation of a field, with what pydantic has taken apart."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
