"""Loggers: the watchers that a configuration chooses with conf/logger/*.yaml; their table of values; metrics.csv."""

import csv
import importlib.metadata
import inspect
import io
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from gpt.base.errors import RequestError
from gpt.base.files import try_write
from gpt.base.installation import installing
from gpt.registry import Choice, Registry
from gpt.runs.folder import RunFolder
from gpt.runs.records import Summary
from gpt.training.state import State
from gpt.training.trainer import Trainer
from gpt.training.watchers import Watcher

# Watchers of every run, and a base class.
_NO_LOGGERS = ("gpt.watching.recorder", "gpt.watching.trackers")


class RunWatcher(Watcher):
    """A watcher that outlives the training and receives the results."""

    def reported(self, summary: Summary, lines: list[str]) -> None:
        """The results are in the run folder; `lines` are the report that ends the run's log."""


def _is_logger(target: Any) -> bool:
    is_watcher = inspect.isclass(target) and issubclass(target, Watcher) and target.__module__ not in _NO_LOGGERS
    return is_watcher and "run" in inspect.signature(target).parameters


_CONTRACT = "a subclass of gpt.training.watchers.Watcher whose constructor takes run"
LOGGER = Registry("logger", "a logger", "gpt.watching", _CONTRACT, _is_logger, given=("run",))


def chosen_loggers(choices: Mapping[str, Choice]) -> list[Callable[..., Watcher]]:
    """The loggers of a configuration, as functions of the `run`.

    Raises RequestError for one that is invalid or whose package is not installed.
    """
    loggers = []
    for name, choice in choices.items():
        registry = replace(LOGGER, key=f"logger.{name}")
        logger = registry.partial(choice)
        package = getattr(registry.find(choice), "package", None)
        try:
            if package is not None:
                importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            raise RequestError(f"{package} is not installed: {installing(str(package))}") from None
        loggers.append(logger)
    return loggers


def rows(state: State, *, since: int = 0) -> dict[int, dict[str, Any]]:
    """The rows of metrics.jsonl from iteration `since` on, with one for each iteration and without what is None."""
    found: dict[int, dict[str, Any]] = defaultdict(dict)
    for row in state.rows(since):
        found[row.pop("iteration")] |= {name: value for name, value in row.items() if value is not None}
    return found


class Csv(Watcher):
    """metrics.csv in the run folder, for a spreadsheet: a row per evaluation and, with `steps`, per recorded step."""

    def __init__(self, run: RunFolder, steps: bool = False) -> None:
        self._run, self._has_steps = run, steps

    def evaluated(self, trainer: Trainer) -> None:
        """Write all rows, so that a resumed run has each of them once."""
        state = trainer.state
        found = rows(state if self._has_steps else state.model_copy(update={"steps": []}))
        names = dict.fromkeys(name for row in found.values() for name in row if name != "sample")
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, ["iteration", *names], extrasaction="ignore")
        writer.writeheader()
        writer.writerows({"iteration": iteration, **row} for iteration, row in found.items())
        try_write("metrics.csv", lambda: self._run.write("metrics.csv", table.getvalue()))

    finished = evaluated  # A run that ends at its checkpoint has no later evaluation.
