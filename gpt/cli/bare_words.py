"""Words without a key, as in `train.py v5` or `train.py mine.yaml`: their keys, where the meaning is clear."""

import itertools
import os
import re
import shlex
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import get_args

from pydantic import BaseModel

from gpt.base.commands import COMMANDS
from gpt.base.errors import RequestError
from gpt.base.installation import CONF
from gpt.base.keys import declared, superseded
from gpt.base.ladder import with_idea
from gpt.base.schema import SETTING_FILES, TrainConfig
from gpt.base.typed import expanded, is_file
from gpt.cli import own_files
from gpt.cli.explanations import explain_option, explain_word, keys_for_users
from gpt.cli.synonyms import by_name

_CONFIG = re.compile(r"(--)?config=.*\.ya?ml$")
_KEYED = re.compile(r"~(?!/)|\+{0,2}[\w./@:-]+=")  # how Hydra's overrides begin


def keyed(
    words: Sequence[str],
    config_name: str,
    schema: type[BaseModel],
    folders: Iterable[Path] = (),
    *,
    has_escapes: bool = True,
    is_sweep: bool = False,
) -> list[str]:
    """These arguments of a script, each as key=value; `folders` are those of --config-dir, which have stages too.

    What is typed replaces what a file of settings among the words says, and a later file an earlier one.
    Raises RequestError for a word that is ambiguous or an option, or that gives a key a second value.
    """
    stages = {path.stem for folder in [CONF, *folders] for path in (folder / "model").glob("*.yaml")}
    found: list[str] = []
    bare: dict[str, list[str]] = {}  # the words that had no key, by the key that they were given
    takes_files = config_name in ("train", "search")
    words = [word.removeprefix("--").removeprefix("config=") if _CONFIG.match(word) else word for word in words]
    files = [word for word in words if takes_files and own_files.is_own(word)]
    joined = _joined([word for word in words if word not in files and not (files and word == "--config")])
    for word, following in itertools.zip_longest(joined, joined[1:]):
        option, equals, value = word.partition("=")
        if word.startswith("-") and " " not in option:  # as in a prompt
            raise RequestError(explain_option(option, value if equals else following or "", config_name))
        if _KEYED.match(word) and not _is_path(word, schema):
            found.append(word)
        else:
            bare.setdefault(_key(word, config_name, schema, stages), []).append(word)
    for key, values in bare.items():
        values = [*(word.removeprefix(f"{key}=") for word in found if word.startswith(f"{key}=")), *values]
        if len(values) > 1 and key not in ("runs", "tags"):
            quoted = f": quote it as a whole, {key}={shlex.quote(' '.join(values))}" if key == "prompt" else ""
            raise RequestError(f"{key} has several values, {' and '.join(map(repr, values))}{quoted}")
        if len(values) > 1:  # a folder whose name has commas is one
            values = [f'"{value}"' if "," in value and Path(expanded(value)).exists() else value for value in values]
        found = [*(word for word in found if not word.startswith(f"{key}=")), f"{key}={','.join(values)}"]
    settings: list[str] = []
    own = [own_files.overrides(file, has_escapes=has_escapes, is_sweep=is_sweep) for file in files]
    for words_of_file in [*own, found]:
        in_full = with_full_keys(words_of_file, config_name, schema)
        replaced = _replaced(in_full)
        settings = [*(word for word in settings if word.partition("=")[0] not in replaced), *in_full]
    return settings


def with_full_keys(words: Sequence[str], config_name: str, schema: type[BaseModel]) -> list[str]:
    """These overrides with the full key for each short one, and with the stage for an idea of the ladder.

    So lr=3e-4 is training.learning_rate=3e-4, and model=residual is model=v5.

    Raises RequestError if a key is given twice, in other words.
    """
    words = [_in_seconds(word) if config_name == "train" else word for word in words]
    words = [f"model={_stages(word[6:])}" if word.startswith("model=") else word for word in words]
    keys = [word.partition("=")[0] for word in words]
    known = {*schema.model_fields, *TrainConfig.model_fields, *SETTING_FILES, *COMMANDS[config_name].words, "json"}
    if not (short := {key for key in keys if key.isidentifier() and key not in known}):
        return [*words]
    meant = {key: full for key, full in by_name(keys_for_users(config_name, words)).items() if key in short}
    full_keys = [meant.get(key, key) for key in keys]
    for key, full in zip(keys, full_keys, strict=True):
        others = {other for other, its_full in zip(keys, full_keys, strict=True) if its_full == full and other != key}
        if key in meant and others:
            raise RequestError(f"give {key}= or {others.pop()}=, not both: they are one key")
    return [full + word[len(key) :] for word, key, full in zip(words, keys, full_keys, strict=True)]


def _in_seconds(word: str) -> str:
    """training.seconds=5min,10min for minutes=5,10."""
    if found := re.fullmatch(r"(?:training\.)?(minutes|hours)=([\d.,]+)", word):
        unit = {"minutes": "min", "hours": "h"}[found[1]]
        return "training.seconds=" + ",".join(f"{value}{unit}" for value in found[2].split(","))
    return word


def _stages(value: str) -> str:
    """The value of model=, with stages for ideas."""
    return ",".join(
        name if is_file(str(CONF / "model" / f"{name}.yaml")) else with_idea(name) or name for name in value.split(",")
    )


def _replaced(words: Sequence[str]) -> set[str]:
    """The keys whose earlier values no longer count, once these words are given."""
    given = {word.partition("=")[0].lstrip("+~"): word.partition("=")[2] for word in words}
    return {*given, *superseded(given), *(declared(key).decides for key, value in given.items() if value != "null")}


def _joined(words: Sequence[str]) -> list[str]:
    """The words, with `key= value` as one."""
    found: list[str] = []
    for word in words:
        if found and _KEYED.fullmatch(found[-1]) and not _KEYED.match(word):
            found[-1] += word
        else:
            found.append(word)
    return found


def _key(word: str, config_name: str, schema: type[BaseModel], stages: Collection[str]) -> str:
    """The first key of the script that this word clearly is a value of."""
    keys = COMMANDS[config_name].words
    choices = {key: stages if key == "model" else _names(schema, key) for key in keys}
    if config_name in ("train", "search"):  # elsewhere, a word may be a prompt
        word = _stages(word)
    if word not in schema.model_fields or Path(word).exists():  # such as a folder that is called run
        for key in keys:
            if _fits(word, key, choices[key]):
                return key
    raise RequestError(explain_word(word, config_name, choices))


def _is_path(word: str, schema: type[BaseModel]) -> bool:
    """Whether a word with an equals sign is something on disk, such as the folder of a sweep's job, and not a key."""
    group = word.partition("=")[0].partition(".")[0].lstrip("+~")
    return group not in {*schema.model_fields, "hydra", "json"} and Path(expanded(word)).exists()


def _names(schema: type[BaseModel], key: str) -> list[str]:
    """The values of a key that has names for them."""
    return [name for name in get_args(schema.model_fields[key].annotation) if isinstance(name, str)]


def _fits(word: str, key: str, choices: Collection[str]) -> bool:
    path = expanded(word)
    match key:
        case "model":
            return all(name in choices for name in word.split(","))
        case "run":
            return is_file(f"{word}/config.yaml")
        case "runs":
            return "/" in word or os.path.isdir(path)  # noqa: PTH112  # as is_file
        case "text":
            return is_file(word)
        case "prompt":
            return not os.path.exists(path) and ("/" not in word or " " in word)  # noqa: PTH110
        case "tags" | "name":
            return True
    return word in choices
