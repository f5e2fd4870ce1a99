"""What conf/ has: its groups, their choices, what each sets, and what its comments say of the keys."""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from gpt.base.installation import CONF
from gpt.base.ladder import rank
from gpt.config.keys import choice_groups, declared, flat, read_conf_file
from gpt.config.schema import SETTING_FILES
from gpt.config.values import parted

OWN_PLACES = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")  # where run folders are; Hydra need not know


@cache
def groups() -> tuple[str, ...]:
    """The groups of conf/, model first, because users choose it first."""
    found = {*choice_groups(), *choice_groups(several=True), *SETTING_FILES}
    return tuple(sorted(found, key=lambda group: (group != "model", group)))


def is_choice(key: str) -> bool:
    """Whether Hydra composes what this key says: a choice of a group, or a setting of Hydra's own."""
    return key in groups() or (key.startswith(("hydra.", "hydra/")) and key not in OWN_PLACES)


def choices_of(group: str) -> list[str]:
    """The choices of a group: stages in the order of the ladder, others by name."""
    names = [path.relative_to(CONF / group).with_suffix("").as_posix() for path in (CONF / group).rglob("*.yaml")]
    return sorted(names, key=rank if group == "model" else None)


def is_for_users(key: str) -> bool:
    """Whether a user sets this key; the others are set by model=NAME and other choices."""
    return declared(key).role != "stated" and not key.endswith("._target_")


def settings_of(stage: str, folders: Sequence[Path] = (CONF,)) -> list[str]:
    """The choices and keys that model/<stage>.yaml sets beyond the model, as key=value; values are as typed.

    The file is in the first of the folders that has one; [] if none has.
    """
    path = next((path for folder in folders if (path := folder / "model" / f"{stage}.yaml").is_file()), None)
    if path is None:
        return []
    content = read_conf_file(path)
    found: dict[str, str] = {}
    for default in content.pop("defaults", []):
        if isinstance(default, str) and default != "_self_":  # another stage, which this one changes
            found |= {parted(setting)[0]: setting for setting in settings_of(default, folders)}
        elif isinstance(default, dict):
            chosen = {key.removeprefix("override ").lstrip("/"): name for key, name in default.items()}
            found |= {key: f"{key}={name}" for key, name in chosen.items()}
    others = {key: value for key, value in content.items() if key != "model" and declared(key).role != "stated"}
    return list((found | {key: f"{key}={value}" for key, value in flat(others).items()}).values())


def meanings(choices: dict[str, Any]) -> dict[str, str]:
    """The comment on every key of train.yaml: from the chosen file of a group, else from the first that has one."""
    found = dict(_comments(CONF / "train.yaml", ""))
    for group in (*choice_groups(), *choice_groups(several=True)):
        files = sorted((CONF / group).glob("*.yaml"), key=lambda path: (path.stem == "transformer", path.stem))
        files.sort(key=lambda path: path.stem != choices.get(path.parent.name))
        for path in files:
            for key, meaning in _comments(path, "" if group == "model" else f"{group}."):
                found[key] = found.get(key) or meaning
    return found


def _comments(path: Path, prefix: str) -> Iterator[tuple[str, str]]:
    """`key: value  # comment` lines of a YAML file, with their dotted keys."""
    above: list[tuple[int, str]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        match = re.match(r'( *)"?(\w+)"?:([^#]*)(?:# ?(.*))?$', line)
        if match is None:
            continue
        indent = len(match[1])
        above = [(other, name) for other, name in above if other < indent]
        yield prefix + ".".join([*(name for _, name in above), match[2]]), (match[4] or "").strip()
        above.append((indent, match[2]))
