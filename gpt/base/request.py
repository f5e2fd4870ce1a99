"""A request: what a command line says beyond the configuration that it composes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt.base.keys import compared, differences, flat
from gpt.base.schema import TrainConfig

# These may change what is compared with the documented run, although they are not compared themselves.
_MAY_CHANGE = {"dtype", "experiment", "debug", "resume"}


@dataclass(frozen=True)
class Destination:
    """Where the folder of a new run is created."""

    runs: Path  # the folder that contains all run folders
    parent: Path  # the folder of a new run is created in it
    prefix: str = ""  # of its name
    folder: Path | None = None  # instead of one in `parent`, if the user has given one
    sweep: Path | None = None  # the folder of the sweep that it is a job of
    swept: tuple[str, ...] = ()  # the keys that differ between the jobs of that sweep

    def of(self, config: TrainConfig) -> Path:
        """The folder of a new run of this configuration, unless it is taken."""
        name = "_".join([config.stage, *([config.name] if config.name else []), f"seed{config.seed}"])
        return self.folder or self.parent / f"{self.prefix}{name}"


@dataclass(frozen=True)
class Request:
    """The command line, and access to the documented runs in conf/."""

    given: tuple[str, ...]  # the keys that have a value on the command line, including groups such as model
    command: str  # the command line
    destination: Destination
    documented: Callable[[str], dict[str, Any]]  # a stage -> the configuration of its documented run, from conf/
    resume: str | None = None  # a run folder, a checkpoint in one, or "auto"
    options: tuple[str, ...] = ()  # of Hydra, such as --config-dir: a command that composes the same needs them too
    foreign: tuple[str, ...] = ()  # --config-path, which replaces conf/
    rest: tuple[str, ...] = ()  # of search.py: the part of its command line that is train.py's

    def changed(self, config: TrainConfig) -> list[str]:
        """The hyperparameters that differ from the documented run of the stage, as key=value.

        The documented run is `model=STAGE` with nothing else given, from the project's own conf/. Raises RequestError
        for an unknown stage.
        """
        groups = {key.partition(".")[0] for key in self.given if key != "model"}
        if not self.foreign and not any(compared(group) or group in _MAY_CHANGE for group in groups):
            return []  # composing takes 50 ms
        documented, content = self.documented(config.stage), config.content()
        settings = flat(content)
        changed = [c for c in differences(documented, content) if compared(c.partition("=")[0], settings)]
        return [*self.foreign, *changed, *(["dtype=bfloat16"] if config.dtype == "bfloat16" else [])]
