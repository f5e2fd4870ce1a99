"""config.yaml: the configuration of a run, with a format version and a checksum.

A version of the project that adds a key to the schema raises FORMAT and says in `_ADDED` which value older runs had, so
that their folders stay readable. Fields that a record gains have defaults for the same reason.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import yaml

from gpt.config import TrainConfig
from gpt.errors import UserError
from gpt.files import parsing

FORMAT = 4

# For each format, the keys that it added, with the value that an older run has for them.
_ADDED: dict[int, dict[str, Any]] = {
    2: {"training.log_interval": None, "init": None, "name": None, "tags": []},
    3: {"training.short_window": None, "training.short_iters": 0, "target": None},
    4: {"overfit": None},
}

# The loader makes plain values only. Its running time is quadratic in the nesting depth, hence the C version and a size
# limit on the file.
LARGEST_CONFIG = 2**14  # bytes
_Yaml = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_CHECKSUM = "# sha256 of all above: "


def dumped(config: TrainConfig) -> str:
    """The content of config.yaml."""
    content = yaml.safe_dump({"format": FORMAT, **config.content()}, sort_keys=False, allow_unicode=True)
    return f"{content}{_CHECKSUM}{_digest(content)}\n"


def loaded(content: str, path: Path) -> TrainConfig:
    """The configuration that `dumped` wrote to `path`, in this format or an older one.

    Raises UserError if it has changed since, or is of a newer format.
    """
    content, found, checksum = content.rpartition(_CHECKSUM)
    if not (found and re.fullmatch(r"[0-9a-f]{64}\s*", checksum)):
        raise UserError(f"{path} was edited: its last line has to be {_CHECKSUM!r} and the checksum")
    if checksum.strip() != _digest(content):
        raise UserError(f"{path} is damaged: its last line is not the checksum of all above")
    with parsing(path):
        if "*" in content and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(content, _Yaml)):
            raise UserError(f"{path} is damaged: a run writes no YAML aliases")
        tree = yaml.load(content, _Yaml)
        version = tree.pop("format", 1)
        check_format(version, path)
        for added in range(version + 1, FORMAT + 1):
            for key, value in _ADDED[added].items():
                _set_default(tree, key, value)
        config = TrainConfig.model_validate(tree)
        json.dumps(config.content(), ensure_ascii=False).encode()  # unpaired surrogates could not be printed
        return config


def check_format(version: Any, path: Path) -> None:
    """Raises UserError if a file of a run folder is of a newer format than this version of the project reads."""
    if type(version) is not int or version < 1:
        raise UserError(f"{path} is damaged: format={version!r:.20} is no version of a run folder")
    if version > FORMAT:
        raise UserError(
            f"{path} was written by a newer version of this project: "
            f"its format is {version}, and this version reads up to {FORMAT}"
        )


def _set_default(tree: dict[str, Any], key: str, value: Any) -> None:
    *groups, name = key.split(".")
    for group in groups:
        tree = tree[group]
    tree.setdefault(name, value)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
