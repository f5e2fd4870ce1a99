"""Checks and rewrites of the command line before Hydra parses it."""

import re
from pathlib import Path

from gpt.errors import RequestError


def refuse_hidden(arguments: list[str], conf: Path) -> None:
    """Raises RequestError for a file in a --config-dir that Hydra would ignore, because conf/ has one of that name."""
    for index, argument in enumerate(arguments):
        option, equals, folder = argument.partition("=")
        if option in ("--config-dir", "-cd"):
            folder = folder if equals else next(iter(arguments[index + 1 :]), "")
            for path in sorted(Path(folder).rglob("*.yaml")):
                if (conf / path.relative_to(folder)).exists():
                    raise RequestError(
                        f"{path} has the name of a file in conf/, which would be used instead: rename it"
                    )


def with_mode(arguments: list[str], conf: Path) -> list[str]:
    """Add hydra.mode=MULTIRUN for an experiment that sweeps: Hydra 1.4 must know the mode before composing."""
    folders = [str(conf), *(a.removeprefix("--config-dir=") for a in arguments)]  # --config-dir FOLDER, too
    for index, (key, _, name) in enumerate(argument.partition("=") for argument in arguments):
        files = [Path(folder, "experiment", f"{name}.yaml") for folder in folders if key == "experiment"]
        if any("mode: MULTIRUN" in file.read_text(encoding="utf-8") for file in files if file.is_file()):
            return [*arguments[:index], "hydra.mode=MULTIRUN", *arguments[index:]]
    return arguments


def with_stage(arguments: list[str]) -> list[str]:
    """Let model=NAME stand for stage=NAME where nothing is trained: Hydra would look for a file in conf/model/."""
    return [re.sub(r"^model=", "stage=", argument) for argument in arguments]


def quoted(arguments: list[str], keys: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
    """Quote the values of these keys for Hydra; return the new arguments, and the values unquoted."""
    quoted, texts = [], {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if equals and key in keys and value != "null":
            texts[key] = value
            # Hydra's grammar requires escaped backslashes only before a quote or a reference.
            value = re.sub(r"(\\*)(\$\{|'|$)", lambda match: 2 * match[1] + (match[2] and "\\" + match[2]), value)
            argument = f"{key}='{value}'"
        quoted.append(argument)
    return quoted, texts
