"""Formats of a run folder: config.yaml, with a format version and a checksum, and what else changed between versions.

A version of the project that adds a key to the schema raises FORMAT and annotates the key with that format (`since`)
and the value that older runs have for it (`before`), so that their folders stay readable. Fields that a record gains
have defaults for the same reason; what defaults cannot express is converted here.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from gpt.base.errors import UserError
from gpt.base.files import parsing
from gpt.base.keys import added
from gpt.base.schema import TrainConfig

FORMAT = 9

# For each format, the new names of older runs' choices.
_RENAMED: dict[int, dict[str, str]] = {
    5: {
        "gpt.models.v9_transformer.Transformer": "gpt.models.transformer.Transformer",
        "gpt.training.loggers.Csv": "gpt.watching.loggers.Csv",
        "gpt.training.profiling.Profile": "gpt.watching.profiling.Profile",
        "gpt.training.trackers.TensorBoard": "gpt.watching.tensorboard.TensorBoard",
        "gpt.training.trackers.Trackio": "gpt.watching.trackio.Trackio",
        "gpt.training.trackers.Wandb": "gpt.watching.wandb.Wandb",
    },
}

# The loader constructs plain values only. Its running time is quadratic in the nesting depth, hence the C version and a
# size limit on the file.
LARGEST_CONFIG = 2**14  # bytes
_Yaml = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_KNOWN = 2**12  # of the values of earlier configurations, because thousands of them are read at once

_CHECKSUM = "# sha256 of all above: "


def dumped(config: TrainConfig) -> str:
    """The content of config.yaml."""
    content = yaml.safe_dump({"format": FORMAT, **config.content()}, sort_keys=False, allow_unicode=True)
    return f"{content}{_CHECKSUM}{_digest(content)}\n"


def loaded(content: str, path: Path) -> TrainConfig:
    """The configuration that `dumped` wrote to `path`, in this format or an older one.

    Raises UserError if it was changed afterwards or has a newer format.
    """
    content, found, checksum = content.rpartition(_CHECKSUM)
    if not (found and re.fullmatch(r"[0-9a-f]{64}\s*", checksum)):
        raise UserError(f"{path} was edited: its last line must be {_CHECKSUM!r} and the checksum")
    if checksum.strip() != _digest(content):
        raise UserError(f"{path} is damaged: its last line is not the checksum of the lines above")
    with parsing(path):
        if "*" in content and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(content, _Yaml)):
            raise UserError(f"{path} is damaged: a run writes no YAML aliases")
        tree = _plain(yaml.compose(content, _Loader))
        version = tree.pop("format", 1)
        check_format(version, path)
        if version < 5:
            _move_multi_token(tree)
            tree["model"] = present_model(tree["model"])
        if version < 7:
            _add_tokenizer(tree["data"])
        for newer in range(version + 1, FORMAT + 1):
            for key, value in added(newer).items():
                _set_default(tree, key, value)
            for choice in _choices(tree):
                choice["_target_"] = _RENAMED.get(newer, {}).get(choice["_target_"], choice["_target_"])
        config = TrainConfig.model_validate(tree)
        json.dumps(config.content(), ensure_ascii=False).encode()  # unpaired surrogates could not be printed
        return config


class _Loader(_Yaml):  # type: ignore[misc, valid-type]
    def resolve(self, kind: Any, value: str | None, implicit: tuple[bool, bool] | bool) -> str:
        """The tag of a node."""
        return _resolved(kind, value, implicit)


@lru_cache(_KNOWN)
def _resolved(kind: Any, value: str | None, implicit: tuple[bool, bool] | bool) -> str:
    return _Yaml("").resolve(kind, value, implicit)


def _plain(node: Any) -> Any:
    """Dictionaries, lists and plain values, as the safe loader constructs them, in half the time."""
    if node.tag == _Yaml.DEFAULT_MAPPING_TAG:
        return {_plain(key): _plain(value) for key, value in node.value}
    if node.tag == _Yaml.DEFAULT_SEQUENCE_TAG:
        return [_plain(value) for value in node.value]
    return _scalar(node.tag, node.value)


@lru_cache(_KNOWN)
def _scalar(tag: str, value: str) -> Any:
    return _Yaml("").construct_object(yaml.ScalarNode(tag, value))


def updated_summary(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a summary of any format, converted to the current one.

    Before format 5, `changed` described earlier parts of the run in sentences such as "schedule=cosine until iteration
    30" and "schedule as documented until iteration 20".
    """
    if "earlier" in fields:
        return fields
    now: list[str] = []
    differing: dict[int, dict[str, str | None]] = {}  # by the end of the part, then by key; None: as documented
    for change in fields["changed"]:
        if sentence := re.fullmatch(r"(.*) until iteration (\d+)", change, re.DOTALL):
            key, equals, _ = sentence[1].partition("=")
            part = differing.setdefault(int(sentence[2]), {})
            part[key if equals else key.removesuffix(" as documented")] = sentence[1] if equals else None
        else:
            now.append(change)
    earlier = []
    for until, part in differing.items():
        same = [change for change in now if change.partition("=")[0] not in part]
        earlier.append({"until": until, "changed": [*filter(None, part.values()), *same]})
    return fields | {"changed": now, "earlier": earlier}


def kind_of_line(fields: dict[str, Any]) -> Any:
    """Whether a line of metrics.jsonl is an "evaluation" or a "step"; before format 5, lines did not say which."""
    return fields.get("kind", "step" if "loss" in fields else "evaluation")


def present_model(choice: dict[str, Any]) -> dict[str, Any]:
    """The current form of a model choice of any format: before format 5, v8 had a switch for each idea."""
    if choice["_target_"] != "gpt.models.v8_modern.GPT" or "rotary" not in choice:
        return choice
    left_out = {"multi_token"} if choice["ngrams"] else {"multi_token", "ngrams", "memory"}
    kept = {key: value for key, value in choice.items() if key not in left_out}
    return kept | {"_target_": f"gpt.models.v8_switches.{'WithCounts' if choice['ngrams'] else 'GPT'}"}


def _move_multi_token(tree: dict[str, Any]) -> None:
    """Move `multi_token`, a hyperparameter of v8 before format 5, to `training`, where every stage has it."""
    if "multi_token" in tree["model"]:
        tree["training"]["multi_token"] = tree["model"]["multi_token"]


def _add_tokenizer(choice: dict[str, Any]) -> None:
    """Add the hyperparameters that the loaders of texts gained in format 7: before, every token was a character."""
    if choice["_target_"] in ("gpt.data.corpora.shakespeare", "gpt.data.corpora.text"):
        choice |= {"tokenizer": "characters", "vocab_size": 1000}
    if choice["_target_"] == "gpt.data.corpora.text":
        choice["separator"] = "\n"


def check_format(version: Any, path: Path) -> None:
    """Raise UserError if a file of a run folder has a newer format than this version of the project can read."""
    if type(version) is not int or version < 1:
        raise UserError(f"{path} is damaged: format={version!r:.20} is not a version of a run folder")
    if version > FORMAT:
        raise UserError(
            f"{path} was written by a newer version of this project: "
            f"its format is {version}, and this version reads up to {FORMAT}"
        )


def _choices(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Everything in a configuration that names a class or function."""
    if "_target_" in tree:
        yield tree
    for value in tree.values():
        if isinstance(value, dict):
            yield from _choices(value)


def _set_default(tree: dict[str, Any], key: str, value: Any) -> None:
    *groups, name = key.split(".")
    for group in groups:
        tree = tree[group]
    tree.setdefault(name, value)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
