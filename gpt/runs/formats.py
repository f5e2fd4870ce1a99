"""The format of a run's files: each says which one it has, and is converted here if an earlier release wrote it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from gpt.base.errors import UserError
from gpt.base.files import PLACE, check_seal, parsed, parsing, seal, sealed
from gpt.base.schema import TrainConfig

FORMAT = 1

Fields = dict[str, Any]

# A release that changes a file raises FORMAT and adds a function here, under the format before, that converts fields or
# tensors of a file, given its name, to the next format. So far there is only one.
CONVERSIONS: dict[int, Callable[[str, Fields], Fields]] = {}

# Modules that have been joined since, by whose names runs call their corpora.
_MOVED = {"gpt.data.recall": "gpt.data.lines", "gpt.data.documents": "gpt.data.lines"}

# The loader constructs plain values only. Its running time is quadratic in the nesting depth, hence the C version and a
# size limit on the file.
LARGEST_CONFIG = 2**14  # bytes
_Yaml = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FIRST_LINE = re.compile(r"format: ([0-9]{1,9})\n")


def check_format(version: Any, path: Path) -> int:
    """The format of a file. Raises UserError unless this version of the project can read it."""
    if version is None:
        raise UserError(f"{path} is damaged, or was written by an unreleased version of this project: it has no format")
    if type(version) is not int or not 1 <= version <= FORMAT:
        raise UserError(
            f"{path} was written by an unreleased or a newer version of this project: "
            f"it has format {version!r:.20}, and this version reads formats up to {FORMAT}"
        )
    return version


def current(name: str, fields: Fields, version: int) -> Fields:
    """The fields, or the tensors, of a file of a run with this format, converted to the current one."""
    for earlier in range(version, FORMAT):
        fields = CONVERSIONS[earlier](name, fields)
    return fields


def to_json(record: Fields, *, indent: int | None = None) -> str:
    """A record as a file or line of a run: with its format first and its checksum last."""
    return seal({"format": FORMAT, **record}, indent=indent) + "\n"


def from_json(content: str, path: Path) -> Fields:
    """The record that `to_json` wrote to `path`, now or in an earlier release, in the current format.

    Raises UserError if it has been changed, or has a format that is none of these.
    """
    with parsing(path):
        record = parsed(content, path)
        version = check_format(record.pop("format", None), path)
        check_seal(content, path)
        del record["checksum"]
        return current(path.name, record, version)


def to_yaml(config: TrainConfig) -> str:
    """The content of config.yaml."""
    fields = {"format": FORMAT, **config.content(), "checksum": PLACE}
    return sealed(yaml.safe_dump(fields, sort_keys=False, allow_unicode=True))


def from_yaml(content: str, path: Path) -> TrainConfig:
    """The configuration that `to_yaml` wrote to `path`. Raises UserError as `from_json` does."""
    with parsing(path):
        found = _FIRST_LINE.match(content)
        version = check_format(int(found[1]) if found else None, path)
        check_seal(content, path)
        if "*" in content and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(content, _Yaml)):
            raise UserError(f"{path} is damaged: a run writes no YAML aliases")
        tree = yaml.load(content, _Yaml)
        del tree["format"], tree["checksum"]
        module, _, name = tree["data"]["_target_"].rpartition(".")
        tree["data"]["_target_"] = f"{_MOVED.get(module, module)}.{name}"
        config = TrainConfig.model_validate(current(path.name, tree, version))
        json.dumps(config.content(), ensure_ascii=False).encode()  # unpaired surrogates could not be printed
        return config
