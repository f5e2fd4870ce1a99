"""YAML files of settings, as in `train.py mine.yaml model=v5`: each key is taken as if it had been typed.

Keys are nested or dotted. The config.yaml of a run is such a file, too: it repeats the run.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from gpt.base.errors import RequestError
from gpt.base.paths import expanded, is_file
from gpt.config.explaining import one_line
from gpt.config.keys import leaves
from gpt.config.values import scalar


class _Strict(yaml.SafeLoader):
    """Refuses a key that a mapping has twice; YAML's own loader takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in {key for key in keys if keys.count(key) > 1}:
            raise RequestError(f"{self.name} has {key} twice")
        return super().construct_mapping(node, deep)


# 1e-3 is a number here, as in conf/ and on the command line; in YAML 1.1 it is text.
_Strict.add_implicit_resolver("!exponent", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), [*"-+0123456789"])
_Strict.add_constructor("!exponent", lambda _, node: scalar(node.value))


def is_one(word: str) -> bool:
    """Whether a word names a file of settings."""
    return Path(word).suffix.lower() in (".yaml", ".yml") and is_file(word)


def is_of_run(content: Mapping[str, Any]) -> bool:
    """Whether this is the content of a run's config.yaml."""
    return "stage" in content and isinstance(content.get("model"), dict)


def content_of(word: str) -> dict[str, Any]:
    """The settings in a file by full key, or the content of a run's configuration. Raises RequestError for others."""
    try:
        with Path(expanded(word)).open(encoding="utf-8") as file:
            content = yaml.load(file, _Strict)
    except UnicodeDecodeError:
        raise RequestError(f"{word} is not UTF-8 text") from None
    except yaml.YAMLError as error:
        raise RequestError(one_line(error)) from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise RequestError(f"{word} must have keys with values, as in 'training.max_iters: 100'")
    if "defaults" in content:
        raise RequestError(
            f"{word} has a defaults list, so it is an experiment: put it into DIR/experiment/, with the line "
            f"'# @package _global_' at its top, and add --config-dir=DIR experiment={Path(word).stem}"
        )
    if is_of_run(content):
        return {key: value for key, value in content.items() if key != "format"}
    found: dict[str, Any] = {}
    for key, value in leaves(content):
        if key in found:
            raise RequestError(f"{word} has {key} twice")
        found[key] = value
    return found
