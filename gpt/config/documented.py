"""The documented run of a stage, `model=STAGE` with nothing else given, and what differs from it."""

import functools
from typing import Any

from gpt.base.errors import RequestError
from gpt.config.command import CONFIG_DIR, Command
from gpt.config.composing import content_of
from gpt.config.keys import completed, differences, is_compared
from gpt.config.schema import TrainConfig
from gpt.config.values import parted


def changed(config: TrainConfig, command: Command) -> list[str]:
    """The settings of a configuration that differ from the documented run of its stage, as key=value.

    A stage that the project's own conf/ lacks is looked up where the command line says. Raises RequestError for an
    unknown stage. No run of the user's own code is documented.
    """
    if config.model.is_user_code:
        return [f"model={config.adds}"]
    groups = {key.partition(".")[0] for key in command.given if key != "model"}
    if not command.foreign and "resume" not in groups and not any(map(is_compared, groups)):
        return []  # composing takes 50 ms
    if command.foreign is None:
        return differing(config, command.folders)
    return [f"--config-path={command.foreign}", *differing(config, (*command.folders, command.foreign))]


def differing(config: TrainConfig, folders: tuple[str, ...] = ()) -> list[str]:
    """The same of a run whose command line is not known; `folders` are looked up for a stage that conf/ lacks."""
    content = config.content()
    found = differences(completed(documented(config.stage, folders), content), content)
    return [change for change in found if is_compared(parted(change)[0])]


@functools.cache
def documented(stage: str, folders: tuple[str, ...] = ()) -> dict[str, Any]:
    """The configuration of the documented run of a stage. Raises RequestError for an unknown stage.

    Composed once a process, because that takes as long as a short training.
    """
    options = tuple(word for folder in folders for word in (CONFIG_DIR[0], folder))
    try:
        return content_of(Command("train", {"model": stage}, options))
    except RequestError:
        advice = "add the --config-dir that the run was started with"
        raise RequestError(f"model={stage} is not in conf/: {advice}") from None
