"""JSON schemas of the files in conf/, for completion and checks in an editor: python -m gpt.session.schemas.

They are derived from the same sources as the checks at run time: the schemas of the commands (gpt/base/commands.py) and
the signatures of the choices (gpt/base/choices.py). The description of a key is its comment in conf/.
"""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from gpt.base.choices import Registry
from gpt.base.commands import COMMANDS
from gpt.base.files import write_atomically
from gpt.cli.help import meanings
from gpt.data.corpora import LOADER
from gpt.models import STAGE
from gpt.training.metrics import METRIC
from gpt.training.optimizers import OPTIMIZER
from gpt.training.schedules import SCHEDULE
from gpt.watching.loggers import LOGGER

Schema = dict[str, Any]

_ALONE = (LOADER, OPTIMIZER, SCHEDULE, LOGGER, METRIC)  # files that hold one of these and nothing else
_OTHERS = ("model", "experiment", "debug")
_REFERENCE = {"type": "string", "pattern": r"\$\{|^\?\?\?$"}  # to another key, or a value that is still to be given
_HYDRAS = {"defaults": {"type": "array"}, "hydra": {"type": "object"}}


def schemas() -> dict[str, tuple[Schema, list[str]]]:
    """The schemas by name, each with the patterns of its files; no key is required."""
    explained = meanings("train", {})
    choices = {registry.key: _choice(registry, explained) for registry in (STAGE, *_ALONE)}
    parts = {
        name: _part(command.load_schema().model_json_schema(), "", meanings(name, {}))
        for name, command in COMMANDS.items()
    }
    found = {name: (_with_hydras(part), [f"conf/{name}.yaml"]) for name, part in parts.items()}
    schema, files = found["train"]
    by_name = {key: {"type": "object", "additionalProperties": choices[key]} for key in ("logger", "metrics")}
    schema["properties"] |= choices | by_name
    files += [f"**/{group}/*.yaml" for group in _OTHERS] + ["**/experiment/*/*.yaml"]
    return found | {
        registry.key: (_with_hydras(choices[registry.key]), [f"**/{registry.key}/*.yaml"]) for registry in _ALONE
    }


def write(folder: Path) -> str:
    """Write the schemas to .schemas/ in `folder`, and VS Code settings that use them, unless other settings exist.

    Returns a message about what was written and what is left to do.
    """
    files = {}
    for name, (schema, patterns) in schemas().items():
        path = folder / ".schemas" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, json.dumps(schema, indent=2) + "\n")
        files[f".schemas/{path.name}"] = patterns
    settings, content = folder / ".vscode" / "settings.json", json.dumps({"yaml.schemas": files}, indent=2) + "\n"
    if settings.exists() and settings.read_text(encoding="utf-8") != content:
        return f"wrote .schemas; add this to {settings}:\n{content}"
    settings.parent.mkdir(exist_ok=True)
    write_atomically(settings, content)
    return f"wrote .schemas and {settings}, which maps each schema to its files"


def _choice(registry: Registry, explained: dict[str, str]) -> Schema:
    """The schema of `_target_` and its hyperparameters; without `_target_`, those of any target."""
    targets = registry.all()
    taken = {name: _hyperparameters(registry, target, explained) for name, target in targets.items()}
    variants: dict[str, list[Schema]] = {key: [] for properties in taken.values() for key in properties}
    for properties in taken.values():
        for key, schema in properties.items():
            variants[key] += [] if schema in variants[key] else [schema]
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {"_target_": {"enum": list(targets)}, **{key: {"anyOf": v} for key, v in variants.items()}},
        "allOf": [
            {
                "if": {"properties": {"_target_": {"const": name}}, "required": ["_target_"]},
                "then": {"properties": dict.fromkeys(variants, False) | properties},
            }
            for name, properties in taken.items()
        ],
    }


def _hyperparameters(registry: Registry, target: Any, explained: dict[str, str]) -> Schema:
    """The schema of each of them, by name."""
    return {
        name: _part(TypeAdapter(parameter.annotation).json_schema(), f"{registry.key}.{name}", explained)
        for name, parameter in registry.hyperparameters(target).items()
    }


def _part(schema: Schema, key: str, explained: dict[str, str], definitions: Schema | None = None) -> Schema:
    """A pydantic schema for the value at `key`, in a file that may omit any key and refer to others."""
    definitions = definitions or schema.get("$defs", {})
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if "properties" in schema:
        properties = {
            name: _part(value, f"{key}.{name}".removeprefix("."), explained, definitions)
            for name, value in schema["properties"].items()
        }
        return {"type": "object", "additionalProperties": False, "properties": properties}
    alternatives = [{k: v for k, v in value.items() if k != "title"} for value in schema.get("anyOf", [schema])]
    return {"description": explained.get(key, ""), "anyOf": [*alternatives, _REFERENCE]}


def _with_hydras(schema: Schema) -> Schema:
    return schema | {"properties": schema["properties"] | _HYDRAS}


if __name__ == "__main__":
    try:
        print(write(Path()))
    except OSError as error:
        sys.exit(f"error: {error.filename}: {error.strerror}")
