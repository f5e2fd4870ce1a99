"""What model=NAME sets besides the model: optimizer, schedule, batch size and other keys."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from gpt.base.installation import CONF
from gpt.base.keys import flat

_Yaml = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # --help reads the files of all stages


def settings_of(stage: str, conf: Path = CONF) -> list[str]:
    """The choices and keys that conf/model/<stage>.yaml sets beyond the model, as key=value; values are as typed.

    `conf` is the folder that holds model/, which may be a user's own.
    """
    path = conf / "model" / f"{stage}.yaml"
    content: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), _Yaml)
    choices: list[str] = []
    below: list[str] = []
    for default in content.pop("defaults", []):
        if isinstance(default, str) and default != "_self_":  # another stage, which this one changes
            below += settings_of(default, conf)
        elif isinstance(default, dict):
            choices += [f"{key.removeprefix('override ').lstrip('/')}={name}" for key, name in default.items()]
    others = {key: value for key, value in content.items() if key not in ("adds", "model", "documented")}
    own = {setting.partition("=")[0]: setting for setting in [*below, *choices]}
    return list((own | {key: f"{key}={value}" for key, value in flat(others).items()}).values())


def settings_of_chosen(stage: str, options: Sequence[str]) -> list[str]:
    """What a stage sets, from conf/ or from a --config-dir among `options`; [] if neither has the stage."""
    folders = [CONF, *(Path(option.partition("=")[2]) for option in options)]
    found = [folder for folder in folders if (folder / "model" / f"{stage}.yaml").is_file()]
    return settings_of(stage, found[0]) if found else []
