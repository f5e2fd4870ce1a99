"""The words of a command, as in `train.py v5 novel.txt lr=3e-4`: settings, files of settings, positional arguments."""

import difflib
import os
import re
from collections.abc import Collection, Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import Any

from gpt.base.commands import COMMANDS
from gpt.base.console import usage
from gpt.base.errors import RequestError
from gpt.base.installation import CONF
from gpt.base.paths import expanded, is_file, is_path
from gpt.config import settings_files
from gpt.config.command import CONFIG_DIR, CONFIG_PATH, Command, command_line
from gpt.config.composing import composition
from gpt.config.conf import choices_of, groups, is_choice, is_for_users
from gpt.config.fields import fields_of
from gpt.config.keys import flat
from gpt.config.schema import TrainConfig
from gpt.config.sweeping import is_swept
from gpt.config.synonyms import by_name, translated
from gpt.config.values import Typed, in_quotes, listed, parted, unquoted
from gpt.registry import is_user_code

_INFO, MULTIRUN = ("--info", "-i"), ("--multirun", "-m")
_OF_ALL = ("--help", "-h", "--version")
# Options, with the values that may follow them; None: anything. All but those of every command are Hydra's.
_OPTIONS: dict[str, tuple[str, ...] | None] = {
    **dict.fromkeys(_OF_ALL, ()),
    **dict.fromkeys(("--hydra-help", "--resolve", "--shell-completion", "-sc", *MULTIRUN), ()),
    **dict.fromkeys(("--cfg", "-c"), ("job", "hydra", "all")),
    **dict.fromkeys(_INFO, ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")),
    **dict.fromkeys(("--package", "-p", *CONFIG_PATH, *CONFIG_DIR), None),
}
_SETTING = re.compile(r"~(?!/)|\+{0,2}(hydra/)?[\w.@:-]+=")  # A path may begin with ~, too.
_DASHED = re.compile(r"--?[A-Za-z][\w.-]*(=.*)?", re.DOTALL)  # -m or --lr=1, but not -1 or "-To be"
_STAGES, _RUN = re.compile(r"[\w,-]+"), re.compile(r"[\w.+/~-]+")
_ON_HUB = re.compile(r"\w[\w.-]*/\w[\w-]*(\.[\d.]+[\w-]*)*")  # USER/NAME, without the ending of a file, as in a/b.txt
_PRINTED_DASH = re.compile(r"^[\u2013\u2014](?=[A-Za-z][\w.-]*(=|$))")  # what word processors make of --
COMPLETION = ("install", "uninstall", "query")  # what --shell-completion takes

Settings = dict[str, Any]


def read(name: str, words: Sequence[str], values: Mapping[str, Any] | None = None) -> Command:
    """The command `name` with these words; `values` are more settings, which are objects already.

    Raises RequestError for an option that does not exist or lacks its value, and for a word that has no place.
    """
    is_of_training = "model" in COMMANDS[name].words
    options, rest = _options([_PRINTED_DASH.sub("--", word) for word in words], name)
    command = Command(name, options=tuple(options), line=command_line(name, words))
    rest = [_without_key(word) for word in rest]
    typed = [_setting(word) for word in rest if _SETTING.match(word)] + [*(values or {}).items()]
    bare = [word for word in rest if not _SETTING.match(word)]
    files = [word for word in bare if is_of_training and settings_files.is_one(word)]
    own = _in_full(typed, command)
    if placed := _placed([word for word in bare if word not in files], name, {*own}):
        own = _in_full([*typed, *placed.items()], command)
    settings: Settings = {}
    for file in files:
        content = settings_files.content_of(file)
        if settings_files.is_of_run(content):
            command, settings = command.replacing({}, run=content), {}
            continue
        found = _in_full([*content.items()], command)
        for key, value in found.items():
            if is_user_code(key, value) and key not in own:
                raise RequestError(f"{key}={value} is code, which is run only if it is typed: add {key}={value}")
        settings |= found
    return command.replacing({**{key: x for key, x in settings.items() if key not in own}, **own})


def _setting(word: str) -> tuple[str, Any]:
    """A word as a key and its value; + and ++ in front of a key, which Hydra knows, change nothing."""
    key, value = parted(word)
    if key.startswith("~"):
        raise RequestError(f"{word} would delete a key: give it another value, such as null")
    return key, Typed(value)


def _in_full(typed: Sequence[tuple[str, Any]], command: Command) -> Settings:
    """Settings under the keys by which they are printed and stored; data.path=FILE alone is data=FILE.

    Raises RequestError for a key that is given twice, in other words.
    """
    known = _known(command.name)
    found = _of_corpora(_translated(typed, by_name(known)), command.name)
    if all("." in key or key in known for key in found) or "data.path" not in COMMANDS[command.name].words:
        return found
    chosen = {key: value for key, value in found.items() if is_choice(key) and not is_swept(key, value)}
    with composition(command.replacing(chosen)) as content:  # a short key may be one of a choice
        keys = flat(content)
    return _of_corpora(_translated(typed, by_name([*known, *filter(is_for_users, keys)])), command.name)


def _known(name: str) -> list[str]:
    """The keys that do not depend on choices."""
    own, schema = COMMANDS[name].words, COMMANDS[name].load_schema()
    of_training = [*groups(), *filter(is_for_users, fields_of(TrainConfig))] if "model" in own else []
    return [*(fields_of(schema) if schema is not TrainConfig else ()), *of_training]


def _translated(typed: Sequence[tuple[str, Any]], names: Mapping[str, str]) -> Settings:
    found: Settings = {}
    words: dict[str, str] = {}
    for key, value in typed:
        after = translated(key, value, names) if key.isidentifier() else (key, value)
        if after is not None:
            if (other := words.setdefault(after[0], key)) != key:
                raise RequestError(f"give {other}= or {key}=, not both: they are one key")
            found[after[0]] = after[1]
    return found


def _of_corpora(settings: Settings, name: str) -> Settings:
    """data=text data.path=PATH instead of data=PATH, and data=huggingface data.name=USER/NAME instead of USER/NAME."""
    if "data.path" not in COMMANDS[name].words:
        return settings
    found: Settings = {}
    for key, value in settings.items():
        found |= _of_corpus(value) if key == "data" else {key: value}
    return {"data": Typed("text"), **found} if "data.path" in found and "data" not in found else found


def _of_corpus(value: Any) -> Settings:
    text = str(value)
    names = value if isinstance(value, list) else [unquoted(text)] if _is_there(unquoted(text)) else listed(text)
    if names and {*choices_of("data")}.isdisjoint(names):
        if all(map(_is_there, names)):
            return {"data": Typed("text"), "data.path": value}
        if all(map(_ON_HUB.fullmatch, names)):
            return {"data": Typed("huggingface"), "data.name": value}
    return {"data": value}


def _is_there(path: str) -> bool:
    """Whether a path or a pattern that was typed leads to something."""
    return os.path.lexists(expanded(path)) or bool(glob(expanded(path), recursive=True))  # noqa: PTH207


def _without_key(word: str) -> str:
    """A file of settings without config= or experiment= in front of it, or the name of one in conf/experiment."""
    file = word.removeprefix("config=").removeprefix("experiment=")
    if not settings_files.is_one(file):
        return word
    place, experiments = Path(expanded(file)).resolve(), CONF / "experiment"
    return f"experiment={place.relative_to(experiments).with_suffix('')}" if experiments in place.parents else file


def _placed(words: Sequence[str], name: str, given: set[str]) -> Settings:
    """The words as values of the command's keys, in the order of the table, without the keys that are `given`."""
    keys = COMMANDS[name].words
    left, found = [key for key in keys if key not in given], dict[str, list[str]]()
    for word in words:
        places = [key for key in left if key != "run" or not _is_text(word, keys)]
        key = _key_in_training(word, [*keys]) if "data.path" in keys else next(iter(places), "")
        if key in given:
            raise RequestError(f"give {key}= or {word!r}, not both")
        if key not in left:
            raise RequestError(f"{word!r} has no place in {usage(name)}; put quotes around a text with spaces")
        found.setdefault(key, []).append(word)
        if not keys[key].endswith("..."):
            left.remove(key)
    return {key: _value(key, values) for key, values in found.items()}


def _value(key: str, values: list[str]) -> Any:
    if key == "data.path":  # files that are there, and no sweep over the parts of a name with commas
        return values if len(values) > 1 else values[0]
    if key == "runs":
        values = [in_quotes(run) if is_path(run) and "," in run else run for run in values]
    return Typed(",".join(values))


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


def _options(words: Sequence[str], name: str) -> tuple[list[str], list[str]]:
    """The options with their values, and the other words, with --lr 3e-4 among them as lr=3e-4.

    Raises RequestError for an option that does not exist, or lacks its value.
    """
    options, rest, remaining = [], [], list(words)
    known = [*_OPTIONS] if "model" in COMMANDS[name].words else _OF_ALL
    while remaining:
        word = remaining.pop(0)
        option, value = parted(word)
        if option not in known:
            is_key = _DASHED.fullmatch(word) and (name != "tag" or word.startswith("--"))  # -wide takes a tag away
            rest.append(_from_dashes(word, remaining, name) if is_key else word)
            continue
        choices = _OPTIONS[option]
        if choices == ():
            if value is not None:
                raise RequestError(f"{option} takes no value")
            options.append(option)
            continue
        if value is None and remaining and (choices is None or remaining[0] in choices):
            value = remaining.pop(0)
        value = value or ("all" if option in _INFO else "")
        if not value or (choices is not None and value not in choices):
            raise RequestError(f"{option} needs {'a value' if choices is None else 'one of ' + ', '.join(choices)}")
        if option in (*CONFIG_DIR, *CONFIG_PATH):
            value = str(Path(expanded(value)).absolute())
        if option in CONFIG_DIR:
            _refuse_hidden(value)
        options += [option, value]
    return options, rest


def _refuse_hidden(folder: str) -> None:
    """Raise RequestError if Hydra would ignore a file in a --config-dir because conf/ has one of the same name."""
    for path in sorted(Path(folder).rglob("*.yaml")):
        if (CONF / path.relative_to(folder)).exists():
            raise RequestError(f"{path} has the same name as a file in conf/, which would be used: rename it")


def _from_dashes(word: str, following: list[str], name: str) -> str:
    """--lr 3e-4 as lr=3e-4; the value may be the first of the words that follow.

    Raises RequestError if there is none, or the word is similar to an option.
    """
    typed, value = parted(word)
    key, known = typed.lstrip("-").replace("-", "_"), _known(name)
    full = by_name(known).get(key, key)
    options = [*_OPTIONS] if "model" in COMMANDS[name].words else [*_OF_ALL]
    near = difflib.get_close_matches(typed.replace("_", "-"), options, n=1, cutoff=0.75)
    if near and full not in {*known, "config"}:  # --config FILE is a file of settings
        raise RequestError(f"there is no option {typed}: did you mean {near[0]}?")
    field = fields_of(COMMANDS[name].load_schema()).get(full) or fields_of(TrainConfig).get(full)
    is_switch, after = bool(field and field.annotation is bool), (following or ["--"])[0]
    is_value = after.lower() in ("true", "false") if is_switch else not after.startswith("--") and after not in _OPTIONS
    if value is None and is_value:
        value = following.pop(0)
    if value is None and full in known and not is_switch:
        raise RequestError(f"{typed} needs a value")
    return f"{key}={'true' if value is None else value}"
