"""Settings under their full keys: training.learning_rate=3e-4 for lr=3e-4, data=text data.path=novel.txt for a file."""

import os
import re
from collections.abc import Sequence
from glob import glob

from pydantic import BaseModel

from gpt.base.commands import COMMANDS
from gpt.base.errors import RequestError
from gpt.base.typed import expanded, listed
from gpt.config.composing import choices_of
from gpt.config.explanations import keys_for_users
from gpt.config.override import Override
from gpt.config.schema import SETTING_FILES, TrainConfig
from gpt.config.synonyms import by_name, translated

_ON_HUB = re.compile(r"\w[\w.-]*/\w[\w-]*(\.[\d.]+[\w-]*)*")  # USER/NAME, without the ending of a file, as in a/b.txt


def in_full(typed: Sequence[Override], config_name: str, schema: type[BaseModel]) -> list[Override]:
    """These settings under the keys by which they are printed and stored; data.path=FILE alone is data=FILE.

    Raises RequestError for a key that is given twice, in other words.
    """
    is_of_training, has_corpus = config_name in ("train", "search"), "data.path" in COMMANDS[config_name].words

    def settings_of(overrides: Sequence[Override]) -> list[Override]:
        found = [setting for each in overrides for setting in (_of_corpus(each) if has_corpus else [each])]
        is_alone = has_corpus and {each.key for each in found} & {"data", "data.path"} == {"data.path"}
        return [Override("data", "text"), *found] if is_alone else found

    known = {*schema.model_fields, *SETTING_FILES, "json"} | ({*TrainConfig.model_fields} if is_of_training else set())
    short = {each.key for each in typed if each.key.isidentifier() and each.key not in known}
    named = by_name([*keys_for_users(config_name, settings_of(typed)), *schema.model_fields]) if short else {}
    found = [translated(each, named if each.key in short else {}) for each in typed]
    words: dict[str, str] = {}
    for before, after in zip(typed, found, strict=True):
        if after and (other := words.setdefault(after.key, before.key)) != before.key:
            raise RequestError(f"give {other}= or {before.key}=, not both: they are one key")
    return settings_of([*filter(None, found)])


def _of_corpus(setting: Override) -> list[Override]:
    """The setting, or data=text data.path=PATH instead of data=PATH, and data.name=USER/NAME of data=huggingface."""
    paths = [setting.text] if _is_path(setting.text) else listed(setting.value or "")
    if setting.key != "data" or not {*choices_of("data")}.isdisjoint(paths):
        return [setting]
    if paths and all(map(_is_path, paths)):
        return [Override("data", "text"), Override("data.path", setting.value)]
    if paths and all(map(_ON_HUB.fullmatch, paths)):
        return [Override("data", "huggingface"), Override("data.name", setting.value)]
    return [setting]


def _is_path(path: str) -> bool:
    """Whether a path or a pattern that was typed leads to something."""
    return os.path.lexists(expanded(path)) or bool(glob(expanded(path), recursive=True))  # noqa: PTH207
