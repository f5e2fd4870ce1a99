"""A command: what somebody asked for on a command line, in Python or on the page."""

import itertools
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from gpt.base import console
from gpt.base.errors import printable
from gpt.config.keys import flat
from gpt.config.values import as_typed

CONFIG_DIR, CONFIG_PATH = ("--config-dir", "-cd"), ("--config-path", "-cp")


class SweepJob(NamedTuple):
    """What a job of a sweep knows of the sweep."""

    number: int  # from 0
    sweep: Path  # the folder of all jobs
    folder: Path | None  # of the run, if hydra.sweep.subdir= names one
    swept: tuple[str, ...]  # the keys that differ between the jobs


@dataclass(frozen=True)
class Command:
    """The settings that were given, each once, under its full key.

    The value of a key is an object, or `Typed` text that `compose` reads; that of a group, such as model, names a
    choice.
    """

    name: str  # such as train
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: tuple[str, ...] = ()  # Hydra's, with their values
    line: str = ""  # the command as it was typed
    run: Mapping[str, Any] | None = None  # the content of a run's config.yaml, if it was given
    job: SweepJob | None = None
    writes: bool = True  # whether there is to be a run folder

    @property
    def given(self) -> tuple[str, ...]:
        """The keys that have a value, groups such as model included."""
        return tuple(dict.fromkeys([*flat(self.run or {}), *self.settings]))

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of --config-dir."""
        return self._values(CONFIG_DIR)

    @property
    def foreign(self) -> str | None:
        """The folder of --config-path, which replaces conf/."""
        return next(iter(self._values(CONFIG_PATH)), None)

    @property
    def same_place(self) -> list[str]:
        """The options that another command needs to find the same choices."""
        return [f"--config-dir={folder}" for folder in self.folders]

    def words(self) -> list[str]:
        """The settings as words of a command line."""
        return [f"{key}={as_typed(value)}" for key, value in self.settings.items()]

    def replacing(self, settings: Mapping[str, Any], **changed: Any) -> "Command":
        """The command with these settings as well, which replace those of the same keys."""
        return replace(self, settings={**self.settings, **settings}, **changed)

    def _values(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(value for option, value in itertools.pairwise(self.options) if option in names)


def command_line(script: str, words: Sequence[str]) -> str:
    """A command as one would type it, in one line."""
    return printable(f"{console.command(script)} {shlex.join(words)}")
