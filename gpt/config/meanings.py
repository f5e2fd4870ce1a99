"""The meaning of each key: the comment behind it in conf/."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpt.base.installation import CONF
from gpt.config.keys import choice_groups


def meanings(config_name: str, choices: dict[str, Any]) -> dict[str, str]:
    """The comment on every key: from the chosen file of a group, else from the first file that has one."""
    found = dict(_comments(CONF / f"{config_name}.yaml", ""))
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
