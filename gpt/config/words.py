"""The words of a command, as in `train.py v5 novel.txt lr=3e-4`: settings, files of settings, positional arguments."""

import itertools
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from pydantic import BaseModel

from gpt.base.commands import COMMANDS
from gpt.base.console import usage
from gpt.base.errors import RequestError
from gpt.base.installation import CONF
from gpt.base.typed import expanded, in_quotes, is_file, is_path
from gpt.config import given_code, own_files
from gpt.config.composing import choices_of
from gpt.config.keys import LENGTHS
from gpt.config.override import Override
from gpt.config.short_keys import in_full

_STAGES, _RUN = re.compile(r"[\w,-]+"), re.compile(r"[\w.+/~-]+")


def overrides_of(
    words: Sequence[str], config_name: str, schema: type[BaseModel], *, has_escapes: bool = True, is_sweep: bool = False
) -> list[Override]:
    """What these words set, under full keys.

    What is typed replaces what a file of settings among the words says, and a later file an earlier one.
    Raises RequestError for a word that has no place.
    """
    words = [*map(_without_key, words)]
    is_of_training = "model" in COMMANDS[config_name].words
    given = given_code.taken(
        [Override.parse(word) for word in words if Override.begins(word)], is_of_training=is_of_training
    )
    bare = [word for word in words if not Override.begins(word)]
    files = [word for word in bare if is_of_training and own_files.is_own(word)]
    typed = in_full(given, config_name, schema)
    placed = _placed([word for word in bare if word not in files], config_name, {each.key for each in typed})
    if placed:  # A key such as field= may be one of the corpus that a word names.
        typed = in_full([*given, *placed], config_name, schema)
    own = [own_files.overrides(file, has_escapes=has_escapes, is_sweep=is_sweep) for file in files]
    named = {setting.key for setting in typed}
    for each in itertools.chain.from_iterable(own):
        if given_code.is_code(each) and each.key not in named:
            raise RequestError(f"{each} is code, which is run only if it is typed: add {each} to the command")
    settings: list[Override] = []
    for new in [*(in_full(overrides, config_name, schema) for overrides in own), typed]:
        replaced = _replaced(new)
        settings = [*(setting for setting in settings if setting.key not in replaced), *new]
    return settings


def _without_key(word: str) -> str:
    """A file of settings without config= or experiment= in front of it, or the name of one in conf/experiment."""
    file = word.removeprefix("config=").removeprefix("experiment=")
    if not own_files.is_own(file):
        return word
    place, experiments = Path(expanded(file)).resolve(), CONF / "experiment"
    return f"experiment={place.relative_to(experiments).with_suffix('')}" if experiments in place.parents else file


def _placed(words: Sequence[str], config_name: str, given: set[str]) -> list[Override]:
    """The words as values of the command's keys, in the order of the table, without the keys that are `given`."""
    keys = COMMANDS[config_name].words
    left, found = [key for key in keys if key not in given], dict[str, list[str]]()
    for word in words:
        places = [key for key in left if key != "run" or not _is_text(word, keys)]
        key = _key_in_training(word, [*keys]) if "data.path" in keys else next(iter(places), "")
        if key in given:
            raise RequestError(f"give {key}= or {word!r}, not both")
        if key not in left:
            raise RequestError(f"{word!r} has no place in {usage(config_name)}; put quotes around a text with spaces")
        found.setdefault(key, []).append(word)
        if not keys[key].endswith("..."):
            left.remove(key)
    if "data.path" in found:
        paths = ",".join(map(quoted, found["data.path"]))
        found["data.path"] = [f"[{paths}]" if len(found["data.path"]) > 1 else paths]
    if "runs" in found:
        found["runs"] = [quoted(run) if is_path(run) else run for run in found["runs"]]
    return [Override(key, ",".join(values)) for key, values in found.items()]


def _is_text(word: str, keys: Collection[str]) -> bool:
    """Whether a word is a text for a command with these keys: its file or, with a space or a sign, the text itself."""
    if is_file(word):
        return "text" in keys
    return not {"prompt", "text"}.isdisjoint(keys) and not os.path.lexists(expanded(word)) and not _RUN.fullmatch(word)


def _key_in_training(word: str, keys: Sequence[str]) -> str:
    """The key of a word that is a file or a folder, or else of a stage or a corpus, which the command takes first."""
    if keys[0] == "model" and Path(word).suffix == ".py":
        raise RequestError(f"{word} is Python: model={word} trains a module of it, data={word} trains on its text")
    if is_file(word) or (os.path.isdir(expanded(word)) and word not in choices_of(keys[0])):  # noqa: PTH112
        return "data.path"
    if keys[0] == "model" and not _STAGES.fullmatch(word):
        raise RequestError(f"there is no file or folder {word!r}")
    return keys[0]


def _replaced(settings: Sequence[Override]) -> set[str]:
    """The keys whose earlier values no longer count, once these settings are given."""
    sets_length = any(setting.key in LENGTHS and setting.value not in (None, "null") for setting in settings)
    return {*(setting.key for setting in settings), *(LENGTHS if sets_length else ())}


def quoted(path: str) -> str:
    """A path, in quotes if Hydra would divide or evaluate it."""
    return path if re.fullmatch(r"[\w./~+:@-]+", path) else in_quotes(path)
