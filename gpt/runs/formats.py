"""The format of a run's files: each states which one it has."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from gpt.base.errors import UserError
from gpt.base.files import PLACE, check_seal, parsing, seal, sealed
from gpt.config.keys import YAML
from gpt.config.schema import TrainConfig

FORMAT = 1

Fields = dict[str, Any]

_FIRST_LINE = re.compile(r"format: ([0-9]{1,9})\n")


def check_format(version: Any, path: Path) -> None:
    """Raise UserError unless this version of the project can read a file of this format."""
    if version is None:
        raise UserError(f"{path} is damaged, or was written by an unreleased version of this project: it has no format")
    if version != FORMAT:
        raise UserError(
            f"{path} was written by an unreleased or a newer version of this project: "
            f"it has format {version!r:.20}, and this version reads format {FORMAT}"
        )


def to_json(record: Fields, *, indent: int | None = None) -> str:
    """A record as a file or line of a run: with its format first and its checksum last."""
    return seal({"format": FORMAT, **record}, indent=indent) + "\n"


def from_json(content: str, path: Path) -> Fields:
    """The record that `to_json` wrote to `path`. Raises UserError if it was changed, or has another format."""
    with parsing(path):
        record: Fields = json.loads(content)
        check_format(record.pop("format", None), path)
        check_seal(content, path)
        del record["checksum"]
        return record


def to_yaml(config: TrainConfig) -> str:
    """The content of config.yaml."""
    fields = {"format": FORMAT, **config.content(), "checksum": PLACE}
    return sealed(yaml.safe_dump(fields, sort_keys=False, allow_unicode=True))


def from_yaml(content: str, path: Path) -> TrainConfig:
    """The configuration that `to_yaml` wrote to `path`. Raises UserError if it was changed, or has another format."""
    with parsing(path):
        found = _FIRST_LINE.match(content)
        check_format(int(found[1]) if found else None, path)
        check_seal(content, path)
        if "*" in content and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(content, YAML)):
            raise UserError(f"{path} is damaged: a run writes no YAML aliases")
        tree = yaml.load(content, YAML)
        del tree["format"], tree["checksum"]
        config = TrainConfig.model_validate(tree)
        json.dumps(config.content(), ensure_ascii=False).encode()  # refuses unpaired surrogates: they cannot be printed
        return config
