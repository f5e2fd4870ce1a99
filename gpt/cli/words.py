"""Words without a key, as in `train.py v5`: their keys, where the meaning is clear."""

import re
import shlex
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel

from gpt.base.errors import RequestError
from gpt.base.installation import CONF
from gpt.cli.composing import groups

_KEYED = re.compile(r"~|\+{0,2}[\w./@:-]+=")  # how Hydra's overrides begin

Means = Callable[[str, Collection[str]], bool]  # whether a word, with the stages that there are, is a value of a key


def _stage(word: str, stages: Collection[str]) -> bool:
    return all(name in stages for name in word.split(","))


def _run(word: str, _: Collection[str]) -> bool:
    return Path(word, "config.yaml").is_file()


def _runs(word: str, _: Collection[str]) -> bool:
    return "/" in word or Path(word).is_dir()


def _file(word: str, _: Collection[str]) -> bool:
    return Path(word).is_file()


def _format(word: str, _: Collection[str]) -> bool:
    return word in ("hub", "transformers", "onnx")


def _prompt(word: str, _: Collection[str]) -> bool:
    return not Path(word).exists() and ("/" not in word or " " in word)


# For each script: the keys that a word may stand for, and the test of whether it clearly does.
_MEANT: dict[str, dict[str, Means]] = {
    "train": {"model": _stage},
    "search": {"model": _stage},
    "generate": {"model": _stage, "run": _run, "prompt": _prompt},
    "evaluate": {"model": _stage, "run": _run, "text": _file},
    "compare": {"model": _stage, "runs": _runs},
    "export": {"model": _stage, "run": _run, "format": _format},
    "play": {"model": _stage, "run": _run, "runs": _runs},
}


def keyed(words: Sequence[str], config_name: str, schema: type[BaseModel], folders: Iterable[Path] = ()) -> list[str]:
    """These arguments of a script, each as key=value; `folders` are those of --config-dir, which have stages too.

    Raises RequestError for a word that is ambiguous, or that gives a key a second value.
    """
    stages = {path.stem for folder in [CONF, *folders] for path in (folder / "model").glob("*.yaml")}
    found: list[str] = []
    bare: dict[str, list[str]] = {}  # the words that had no key, by the key that they were given
    for word in _joined(words):
        if _KEYED.match(word):
            found.append(word)
        else:
            bare.setdefault(_key(word, config_name, schema, stages), []).append(word)
    for key, values in bare.items():
        values = [*(word.removeprefix(f"{key}=") for word in found if word.startswith(f"{key}=")), *values]
        if len(values) > 1 and key != "runs":
            quoted = f": quote it as a whole, {key}={shlex.quote(' '.join(values))}" if key == "prompt" else ""
            raise RequestError(f"{key} has several values, {' and '.join(map(repr, values))}{quoted}")
        found = [*(word for word in found if not word.startswith(f"{key}=")), f"{key}={','.join(values)}"]
    return found


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
    unread = f"cannot read {word!r} as key=value"
    if word in schema.model_fields:
        raise RequestError(f"{unread}: give it a value, as in {word}=VALUE, without spaces around the sign")
    for key, means in _MEANT[config_name].items():
        if means(word, stages):
            return key
    chosen = [group for group in groups("train") if (CONF / group / f"{word}.yaml").is_file()]
    meant = chosen if chosen and config_name in ("train", "search") else _MEANT[config_name]
    raise RequestError(f"{unread}; did you mean {' or '.join(f'{key}={shlex.quote(word)}' for key in meant)}?")
