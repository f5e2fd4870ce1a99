"""Settings as people type them, in full: lr=3e-4 and minutes=5, data=novel.txt, and runs by their names."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from omegaconf import MISSING
from pydantic import BaseModel

from gpt.base.errors import RequestError
from gpt.base.typed import expanded, in_quotes, is_file, listed, unquoted
from gpt.cli.explanations import keys_for_users
from gpt.config.composing import choices_of
from gpt.config.keys import takes
from gpt.config.schema import SETTING_FILES, TrainConfig
from gpt.config.synonyms import by_name
from gpt.runs import naming

_OF_TRAINING = ("train", "search")  # the commands that take the keys of train.yaml


def in_full(words: Sequence[str], config_name: str, schema: type[BaseModel]) -> list[str]:
    """These settings under the keys by which they are printed and stored: training.learning_rate=3e-4 for lr=3e-4,
    training.seconds=5min for minutes=5, data=text data.path=novel.txt for data=novel.txt.

    Raises RequestError for a key that is given twice, in other words.
    """
    typed = [word.partition("=")[0].lstrip("+~") for word in words]
    is_train = config_name == "train"  # search.py has minutes of its own
    words = [_in_seconds(word) if is_train or word.startswith("training.") else word for word in words]
    keys = [word.partition("=")[0].lstrip("+~") for word in words]
    known = {*schema.model_fields, *TrainConfig.model_fields, *SETTING_FILES, "json"}
    short = {key for key in keys if key.isidentifier() and key not in known}
    named = by_name(keys_for_users(config_name, words)) if short else {}
    full_keys = [named.get(key, key) if key in short else key for key in keys]
    for key, full in zip(typed, full_keys, strict=True):
        others = {other for other, its_full in zip(typed, full_keys, strict=True) if its_full == full and other != key}
        if others:
            raise RequestError(f"give {key}= or {others.pop()}=, not both: they are one key")
    words = [word.replace(key, full, 1) for word, key, full in zip(words, keys, full_keys, strict=True)]
    return [setting for word in words for setting in (_of_corpus(word) if config_name in _OF_TRAINING else [word])]


def _in_seconds(word: str) -> str:
    """training.seconds=5min,10min for minutes=5,10; a value with a unit of its own stays what it is."""
    if found := re.fullmatch(r"(?:training\.)?(minutes|hours)=([^(\[]+)", word):
        unit = {"minutes": "min", "hours": "h"}[found[1]]
        return "training.seconds=" + re.sub(r"([0-9.]+)(?=,|$)", rf"\1{unit}", found[2])
    return word


def _of_corpus(setting: str) -> list[str]:
    """The setting, or data=text data.path=PATH instead of data=PATH."""
    key, _, value = setting.partition("=")
    paths = [unquoted(value)] if is_file(unquoted(value)) else listed(value)
    is_text = all(is_file(path) or ("/" in path and Path(expanded(path)).is_dir()) for path in paths)
    if key != "data" or not (paths and is_text) or not {*choices_of("data")}.isdisjoint(paths):
        return [setting]
    return ["data=text", f"data.path={value}"]


def located(setting: str, config_name: str, schema: type[BaseModel], where: str, *, is_sweep: bool) -> str:
    """The setting with folders instead of the names of runs below `where`, once for all jobs of a sweep.

    Raises RequestError if there is no such run.
    """
    key, _, value = setting.partition("=")
    how = takes(TrainConfig if config_name in _OF_TRAINING else schema, key.lstrip("+"))
    whole = unquoted(value)
    if not how or whole in ("", "null", "auto", MISSING) or (is_sweep and "(" in value):
        return setting
    is_one = not is_sweep and (how == "run" or os.path.lexists(expanded(whole)))
    items = [whole] if is_one else listed(value)
    paths = [path for item in items for path in naming.called(item, where, one=how == "run")]
    if paths == [Path(expanded(item)) for item in items]:
        return setting
    return f"{key}={','.join(quoted(str(path)) for path in paths)}"


def quoted(path: str) -> str:
    """A path, in quotes if Hydra would divide or evaluate it."""
    return path if re.fullmatch(r"[\w./~+:@-]+", path) else in_quotes(path)
