"""A request: what a command line says beyond the configuration that it composes."""

from dataclasses import dataclass
from pathlib import Path

from gpt.config.override import Override
from gpt.config.schema import TrainConfig


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
    """The command line."""

    given: tuple[str, ...]  # the keys that have a value on the command line, including groups such as model
    command: str  # the command line
    destination: Destination | None  # None: nothing is written
    folders: tuple[str, ...] = ()  # of --config-dir
    foreign: str | None = None  # of --config-path, which replaces conf/
    rest: tuple[Override, ...] = ()  # of search.py: the part of its command line that is train.py's

    @property
    def options(self) -> list[str]:
        """What a command that composes the same needs, too."""
        return [f"--config-dir={folder}" for folder in self.folders]

    @property
    def is_of_sweep(self) -> bool:
        """Whether it is that of a job of a sweep."""
        return self.destination is not None and self.destination.sweep is not None
