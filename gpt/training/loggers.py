"""Loggers: watchers that report a run to a file or a service, named by conf/logger/*.yaml."""

import csv
import inspect
import io
from typing import Any

from gpt.choices import Kind
from gpt.files import attempt, write_atomically
from gpt.runs.folder import RunFolder
from gpt.training.state import TrainingState
from gpt.training.watchers import Watcher

_BUILT_IN = ("gpt.training.watchers", "gpt.training.recording")  # train.py decides on these; they cannot be chosen


def _is_logger(target: Any) -> bool:
    if not (inspect.isclass(target) and issubclass(target, Watcher)) or target.__module__ in _BUILT_IN:
        return False
    return "run" in inspect.signature(target).parameters


_CONTRACT = "a subclass of gpt.training.watchers.Watcher whose constructor takes run"
LOGGER = Kind("logger", "a logger", "gpt.training", _CONTRACT, _is_logger, given=("run",))


class Csv(Watcher):
    """metrics.csv in the run folder: one row per evaluation, for a spreadsheet."""

    def __init__(self, run: RunFolder) -> None:
        self._path = run.path / "metrics.csv"

    def evaluated(self, state: TrainingState) -> None:
        """Write all evaluations, so that a resumed run has each once."""
        rows = [
            {"iteration": e.iteration, "train": e.train, "val": e.val}
            | {f"learning_rate_{group}": rate for group, rate in e.learning_rates.items()}
            for e in state.progress.evaluations
        ]
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        attempt(self._path.name, lambda: write_atomically(self._path, table.getvalue()))
