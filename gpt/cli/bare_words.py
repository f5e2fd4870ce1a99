"""Words without a key, as in `train.py v5` or `train.py mine.yaml`: their keys, where the meaning is clear."""

import itertools
import os
import re
import shlex
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import get_args

from omegaconf import MISSING
from pydantic import BaseModel

from gpt.base.commands import COMMANDS
from gpt.base.errors import RequestError
from gpt.base.installation import CONF
from gpt.base.keys import LENGTHS, takes
from gpt.base.ladder import with_idea
from gpt.base.schema import SETTING_FILES, TrainConfig
from gpt.base.typed import expanded, in_quotes, is_file, listed, unquoted
from gpt.cli import own_files
from gpt.cli.composing import choices_of
from gpt.cli.explanations import explain_option, explain_word, keys_for_users
from gpt.cli.synonyms import by_name
from gpt.runs import naming
from gpt.runs.folder import holds_run

_CONFIG = re.compile(r"(--)?config=.*\.ya?ml$")
_KEYED = re.compile(r"~(?!/)|\+{0,2}[\w./@:-]+=")  # how Hydra's overrides begin
_OF_TRAINING = ("train", "search")  # the commands that take the keys of train.yaml


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
    configs = {word: word.removeprefix("--").removeprefix("config=") for word in words if _CONFIG.match(word)}
    if missing := [word for word, file in configs.items() if not is_file(file)]:
        raise RequestError(f"{missing[0]}: no such file")
    words = [configs.get(word, word) for word in words]
    files = [word for word in words if config_name in _OF_TRAINING and own_files.is_own(word)]
    others = [word for word in words if word not in files and not (files and word == "--config")]
    plain: list[str] = []  # the words that have no key
    found: list[str] = []
    joined = _joined(others)
    for word, following in itertools.zip_longest(joined, joined[1:]):
        option, equals, value = word.partition("=")
        is_tag = config_name == "tag" and word[1:2] not in ("", "-")
        if word.startswith("-") and " " not in option and not is_tag:  # as in a prompt
            raise RequestError(explain_option(option, value if equals else following or "", config_name))
        (found if _KEYED.match(word) and not _is_path(word, schema) else plain).append(word)
    folders_of_runs = [unquoted(word.removeprefix("runs=")) for word in found if word.startswith("runs=")]
    where = next(filter(naming.is_path, folders_of_runs), naming.RUNS)
    found = interpreted(found, config_name, schema, where, is_sweep=is_sweep)
    for key, values in _by_key(plain, found, config_name, schema, stages, where).items():
        given = [word.removeprefix(f"{key}=") for word in found if word.startswith(f"{key}=")]
        if key == "runs" and not all(map(naming.is_path, values)):
            given = []  # which says where these are
        values = [*given, *values]
        if len(values) > 1 and key not in ("runs", "tags"):
            quoted = f": quote it as a whole, {key}={shlex.quote(' '.join(values))}" if key == "prompt" else ""
            raise RequestError(f"{key} has several values, {' and '.join(map(repr, values))}{quoted}")
        if len(values) > 1:  # a folder whose name has commas is one
            values = [f'"{value}"' if "," in value and Path(expanded(value)).exists() else value for value in values]
        if key == "data.path":
            values = [*map(_quoted, values)]
            found += [] if any(word.startswith("data=") for word in found) else ["data=text"]
        found = [*(word for word in found if not word.startswith(f"{key}=")), f"{key}={','.join(values)}"]
    settings: list[str] = []
    own = [own_files.overrides(file, has_escapes=has_escapes, is_sweep=is_sweep) for file in files]
    for words_of_file in [*own, found]:
        new = interpreted(words_of_file, config_name, schema, where, is_sweep=is_sweep)
        replaced = _replaced(new)
        settings = [*(word for word in settings if word.partition("=")[0] not in replaced), *new]
    return settings


def interpreted(
    words: Sequence[str], config_name: str, schema: type[BaseModel], where: str = naming.RUNS, *, is_sweep: bool = False
) -> list[str]:
    """What these stand for: lr=3e-4 for training.learning_rate=3e-4, model=residual for model=v5, data=novel.txt for
    data=text data.path=novel.txt, and run=my_best for the folder of the run below `where` that is called so.

    Runs are looked up here, once for all jobs of a sweep. Raises RequestError if there is no such run, or if a key is
    given twice, in other words.
    """
    words = _with_full_keys(words, config_name, schema)
    if config_name in _OF_TRAINING:
        schema, words = TrainConfig, [setting for word in words for setting in _of_corpus(word)]
    return [_located(word, schema, where, is_sweep=is_sweep) for word in words]


def _with_full_keys(words: Sequence[str], config_name: str, schema: type[BaseModel]) -> list[str]:
    typed = [word.partition("=")[0].lstrip("+~") for word in words]
    is_train = config_name == "train"  # search.py has minutes of its own
    words = [_in_seconds(word) if is_train or word.startswith("training.") else word for word in words]
    words = [f"model={_stages(word[6:])}" if word.startswith("model=") else word for word in words]
    keys = [word.partition("=")[0].lstrip("+~") for word in words]
    known = {*schema.model_fields, *TrainConfig.model_fields, *SETTING_FILES, *COMMANDS[config_name].words, "json"}
    short = {key for key in keys if key.isidentifier() and key not in known}
    named = by_name(keys_for_users(config_name, words)) if short else {}
    full_keys = [named.get(key, key) if key in short else key for key in keys]
    for key, full in zip(typed, full_keys, strict=True):
        others = {other for other, its_full in zip(typed, full_keys, strict=True) if its_full == full and other != key}
        if others:
            raise RequestError(f"give {key}= or {others.pop()}=, not both: they are one key")
    return [word.replace(key, full, 1) for word, key, full in zip(words, keys, full_keys, strict=True)]


def _in_seconds(word: str) -> str:
    """training.seconds=5min,10min for minutes=5,10; a value with a unit of its own stays what it is."""
    if found := re.fullmatch(r"(?:training\.)?(minutes|hours)=([^(\[]+)", word):
        unit = {"minutes": "min", "hours": "h"}[found[1]]
        return "training.seconds=" + re.sub(r"([0-9.]+)(?=,|$)", rf"\1{unit}", found[2])
    return word


def _stages(value: str) -> str:
    """The value of model=, with stages for ideas."""
    return ",".join(
        name if is_file(str(CONF / "model" / f"{name}.yaml")) else with_idea(name) or name for name in value.split(",")
    )


def _of_corpus(setting: str) -> list[str]:
    """The setting, or data=text data.path=PATH instead of data=PATH."""
    key, _, value = setting.partition("=")
    paths = [unquoted(value)] if is_file(unquoted(value)) else listed(value)
    is_text = all(is_file(path) or ("/" in path and Path(expanded(path)).is_dir()) for path in paths)
    if key != "data" or not (paths and is_text) or not {*choices_of("data")}.isdisjoint(paths):
        return [setting]
    return ["data=text", f"data.path={value}"]


def _located(setting: str, schema: type[BaseModel], where: str, *, is_sweep: bool) -> str:
    """The setting with folders instead of the names of runs below `where`, if it is of runs."""
    key, _, value = setting.partition("=")
    how, whole = takes(schema, key.lstrip("+")), unquoted(value)
    if not how or whole in ("", "null", "auto", MISSING) or (is_sweep and "(" in value):
        return setting
    is_one = not is_sweep and (how == "run" or os.path.lexists(expanded(whole)))
    items = [whole] if is_one else listed(value)
    paths = [path for item in items for path in naming.called(item, where, one=how == "run")]
    if paths == [Path(expanded(item)) for item in items]:
        return setting
    return f"{key}={','.join(_quoted(str(path)) for path in paths)}"


def _quoted(path: str) -> str:
    return path if re.fullmatch(r"[\w./~+:@-]+", path) else in_quotes(path)


def _replaced(words: Sequence[str]) -> set[str]:
    """The keys whose earlier values no longer count, once these words are given."""
    given = {word.partition("=")[0].lstrip("+~"): word.partition("=")[2] for word in words}
    sets_length = any(given.get(key, "null") != "null" for key in LENGTHS)
    return {*given, *(LENGTHS if sets_length else ())}


def _joined(words: Sequence[str]) -> list[str]:
    """The words, with `key= value` as one."""
    found: list[str] = []
    for word in words:
        if found and _KEYED.fullmatch(found[-1]) and not _KEYED.match(word):
            found[-1] += word
        else:
            found.append(word)
    return found


def _by_key(
    words: Sequence[str], found: Sequence[str], config_name: str, schema: type[BaseModel], stages: Collection[str],
    where: str,
) -> dict[str, list[str]]:  # fmt: skip
    """The words by the first key of the script that each clearly is a value of."""
    keys, bare = COMMANDS[config_name].words, dict[str, list[str]]()
    choices = {key: stages if key == "model" else _names(schema, key) for key in keys}
    for number, word in enumerate(words, start=1):
        word = _stages(word) if config_name in _OF_TRAINING else word  # elsewhere, it may be a prompt
        taken, label = {*bare, *(setting.partition("=")[0] for setting in found)}, keys[-1]
        takes_name = any(takes(schema, key) for key in keys) and "run" not in taken
        if label == "tags" and (label in bare or any(map(naming.is_path, bare.get("runs", [])))):
            takes_name = False  # so that no run is tagged because it is called as the tag
        called = [*naming.find(word, where)] if takes_name and word not in stages else []
        is_key = word in schema.model_fields and not Path(word).exists()  # such as a folder that is called run
        fitting = [key for key in keys if not is_key and _fits(word, key, choices[key], called)]
        if number == len(words) and label in ("name", "tags") and label not in taken and not naming.is_path(word):
            fitting = [label]
        if not fitting:
            named = {key: naming.names(where) if takes(schema, key) else choices[key] for key in keys}
            raise RequestError(explain_word(word, config_name, named))
        is_group = "runs" in fitting and not all(holds_run(path) for path in called)
        bare.setdefault("runs" if is_group else fitting[0], []).append(word)
    return bare


def _is_path(word: str, schema: type[BaseModel]) -> bool:
    """Whether a word with an equals sign is something on disk, such as the folder of a sweep's job, and not a key."""
    group = word.partition("=")[0].partition(".")[0].lstrip("+~")
    return group not in {*schema.model_fields, "hydra", "json"} and Path(expanded(word)).exists()


def _names(schema: type[BaseModel], key: str) -> list[str]:
    """The values of a key that has names for them."""
    field = schema.model_fields.get(key)
    return [name for name in get_args(field and field.annotation) if isinstance(name, str)]


def _fits(word: str, key: str, choices: Collection[str], called: Collection[Path]) -> bool:
    path = expanded(word)
    match key:
        case "model":
            return all(name in choices for name in word.split(","))
        case "run":
            return holds_run(Path(path)) or bool(called)
        case "runs":
            return "/" in word or os.path.isdir(path) or bool(called)  # noqa: PTH112  # as is_file
        case "text" | "data.path":
            return is_file(word)
        case "prompt":
            return not os.path.exists(path) and ("/" not in word or " " in word)  # noqa: PTH110
        case "tags" | "name":
            return True
    return word in choices
