"""The format of a run's files: plain JSON and YAML, which state which one they have."""

import json
from pathlib import Path
from typing import Any

import yaml

from gpt.base.errors import UserError
from gpt.base.files import damaged_as_user_error
from gpt.config.keys import YAML
from gpt.config.schema import TrainConfig

FORMAT = 2

Fields = dict[str, Any]


def check_format(version: Any, path: Path) -> None:
    """Raise UserError unless this version of the project can read a file of this format."""
    if version is None:
        raise UserError(f"{path} is damaged, or was written by an unreleased version of this project: it has no format")
    if version != FORMAT:
        raise UserError(
            f"{path} was written by an unreleased or a newer version of this project: "
            f"it has format {version!r:.20}, and this version reads format {FORMAT}"
        )


def to_json(record: Fields) -> str:
    """A record as a file of a run."""
    return json.dumps({"format": FORMAT, **record}, ensure_ascii=False, indent=2) + "\n"


def from_json(content: str, path: Path) -> Fields:
    """The record in the file at `path`. Raises UserError if it cannot be read, or has another format."""
    with damaged_as_user_error(path):
        record: Fields = json.loads(content)
        check_format(record.pop("format", None), path)
        return record


def to_yaml(config: TrainConfig) -> str:
    """The content of config.yaml."""
    return yaml.safe_dump({"format": FORMAT, **config.content()}, sort_keys=False, allow_unicode=True)


def from_yaml(content: str, path: Path) -> TrainConfig:
    """The configuration in the file at `path`. Raises UserError if it cannot be read, or has another format."""
    with damaged_as_user_error(path):
        tree = yaml.load(content, YAML)
        check_format(tree.pop("format", None), path)
        return TrainConfig.model_validate(tree)
