"""The documented run of a stage, `model=STAGE` with nothing else given, and what differs from it."""

import functools
from typing import Any

from hydra.errors import HydraException
from omegaconf import OmegaConf

from gpt.base.errors import RequestError
from gpt.config.composing import composed_tree, own_configuration, search_path
from gpt.config.keys import completed, differences, is_compared
from gpt.config.override import Override
from gpt.config.request import Request
from gpt.config.schema import TrainConfig


def changed(config: TrainConfig, request: Request) -> list[str]:
    """The settings of a configuration that differ from the documented run of its stage, as key=value.

    A stage that the project's own conf/ lacks is looked up where the command line says. Raises RequestError for an
    unknown stage. No run of the user's own code is documented.
    """
    if config.model.is_own:
        return [f"model={config.adds}"]
    groups = {key.partition(".")[0] for key in request.given if key != "model"}
    if not request.foreign and "resume" not in groups and not any(map(is_compared, groups)):
        return []  # composing takes 50 ms
    if request.foreign is None:
        return differing(config, request.folders)
    return [f"--config-path={request.foreign}", *differing(config, (*request.folders, request.foreign))]


def differing(config: TrainConfig, folders: tuple[str, ...] = ()) -> list[str]:
    """The same of a run whose command line is not known; `folders` are looked up for a stage that conf/ lacks."""
    content = config.content()
    found = differences(completed(documented(config.stage, folders), content), content)
    return [change for change in found if is_compared(Override.parse(change).key)]


@functools.cache
def documented(stage: str, folders: tuple[str, ...] = ()) -> dict[str, Any]:
    """The configuration of the documented run of a stage. Raises RequestError for an unknown stage.

    Composed once a process, because that takes as long as a short training.
    """
    try:
        with own_configuration(), composed_tree([f"model={stage}", *search_path(folders)]) as (tree, _):
            content: Any = OmegaConf.to_container(tree, resolve=True)
    except HydraException:
        advice = "add the --config-dir that the run was started with"
        raise RequestError(f"model={stage} is not in conf/: {advice}") from None
    return content
