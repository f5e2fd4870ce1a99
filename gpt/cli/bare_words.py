"""Words without a key, as in `train.py v5 novel.txt`: positional arguments, whose keys the table of commands has."""

import itertools
import re
from collections.abc import Sequence

from pydantic import BaseModel

from gpt.base.commands import COMMANDS
from gpt.base.console import usage
from gpt.base.errors import RequestError
from gpt.base.typed import is_file, unquoted
from gpt.cli import own_files
from gpt.cli.explanations import explain_option
from gpt.cli.short_keys import in_full, located, quoted
from gpt.config.keys import LENGTHS
from gpt.runs import naming

_KEYED = re.compile(r"~(?!/)|\+{0,2}(hydra/)?[\w.@:-]+=")  # how Hydra's overrides begin
_STAGES = re.compile(r"[\w,-]+")


def keyed(
    words: Sequence[str], config_name: str, schema: type[BaseModel], *, has_escapes: bool = True, is_sweep: bool = False
) -> list[str]:
    """These arguments of a script, each as key=value, under full keys, with folders for the names of runs.

    What is typed replaces what a file of settings among the words says, and a later file an earlier one.
    Raises RequestError for an option, for a word that has no place, and if there is no such run.
    """
    for word, following in itertools.pairwise([*words, ""]):
        option, equals, value = word.partition("=")
        if word.startswith("-") and config_name != "tag":
            raise RequestError(explain_option(option, value if equals else following, config_name))
    typed = in_full([word for word in words if _KEYED.match(word)], config_name, schema)
    bare = [word for word in words if not _KEYED.match(word)]
    files = [word for word in bare if "data.path" in COMMANDS[config_name].words and own_files.is_own(word)]
    given = {word.partition("=")[0].lstrip("+~"): unquoted(word.partition("=")[2]) for word in typed}
    where = given["runs"] if naming.is_path(given.get("runs", "")) else naming.RUNS
    placed = _placed([word for word in bare if word not in files], config_name, {*given}, where)
    settings: list[str] = []
    own = [own_files.overrides(file, has_escapes=has_escapes, is_sweep=is_sweep) for file in files]
    for new in [*(in_full(words, config_name, schema) for words in own), [*typed, *placed]]:
        replaced = _replaced(new)
        settings = [*(word for word in settings if word.partition("=")[0] not in replaced), *new]
    return [located(word, config_name, schema, where, is_sweep=is_sweep) for word in settings]


def _placed(words: Sequence[str], config_name: str, given: set[str], where: str) -> list[str]:
    """The words as values of the command's keys, in the order of the table, without the keys that are `given`."""
    keys = COMMANDS[config_name].words
    left, found = [key for key in keys if key not in given], dict[str, list[str]]()
    for number, word in enumerate(words, start=1):
        if "tags" in left and "runs" in found:
            is_run = naming.is_path(word) if naming.is_path(words[0]) else naming.find(word, where)
            left = left if is_run and number < len(words) else ["tags"]
        key = _key_in_training(word) if "data.path" in keys else next(iter(left), "")
        if key not in left:
            raise RequestError(f"{word!r} has no place in {usage(config_name)}; put quotes around a text with spaces")
        found.setdefault(key, []).append(word)
        if not keys[key].endswith("..."):
            left.remove(key)
    if "data.path" in found:
        paths = ",".join(map(quoted, found["data.path"]))
        found["data.path"] = [f"[{paths}]" if len(found["data.path"]) > 1 else paths]
        found |= {} if "data" in given else {"data": ["text"]}
    if "runs" in found:
        found["runs"] = [quoted(run) if naming.is_path(run) else run for run in found["runs"]]
    return [f"{key}={','.join(values)}" for key, values in found.items()]


def _key_in_training(word: str) -> str:
    if not is_file(word) and not _STAGES.fullmatch(word):
        raise RequestError(f"there is no file {word!r}")
    return "data.path" if is_file(word) else "model"


def _replaced(words: Sequence[str]) -> set[str]:
    """The keys whose earlier values no longer count, once these words are given."""
    given = {word.partition("=")[0].lstrip("+~"): word.partition("=")[2] for word in words}
    sets_length = any(given.get(key, "null") != "null" for key in LENGTHS)
    return {*given, *(LENGTHS if sets_length else ())}
