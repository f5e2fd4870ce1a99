"""The runs that the page offers, under ids from which no path can be constructed."""

import hashlib
import threading
from collections import OrderedDict
from datetime import datetime
from pathlib import Path
from typing import Any

from gpt.base.errors import RequestError
from gpt.config.schema import Weights
from gpt.playground.describe import in_brief, in_full
from gpt.runs.finding import FinishedRun, finished_runs, skipping_damaged
from gpt.runs.folder import RunFolder
from gpt.session.trained import TrainedRun, load_run

_OPEN = 8  # models kept in memory: of runs, and of moments of their training


class RunList:
    """The finished runs below some folders, and the `chosen` run, if any, from anywhere. Threads may share a list.
    `weights`, `device`: see `gpt.session.trained.load_run`.
    """

    def __init__(
        self, roots: list[Path], chosen: RunFolder | None, weights: Weights = "auto", device: str = "auto"
    ) -> None:
        self._roots, self._chosen, self._weights, self._device = roots, chosen, weights, device
        self._found: dict[str, FinishedRun] = {}
        # Keys: id, when the run finished, and the moment of its training.
        self._open: OrderedDict[tuple[str, datetime, int | None], TrainedRun] = OrderedDict()
        self._lock = threading.Lock()

    def briefly(self) -> dict[str, Any]:
        """All runs, newest first, and the id of the chosen run, or of the newest if that can no longer be shown.

        A damaged run is left out, with a warning. Without runs, none is chosen.
        """
        own = [self._chosen.path] if self._chosen else []
        found = finished_runs(*self._roots, *own, is_required=False)
        self._found = {id_of(run.folder): run for run in found}
        listed = []
        for name, run in reversed(self._found.items()):
            with skipping_damaged():
                listed.append(in_brief(name, *run))
        ids = [run["id"] for run in listed]
        chosen = id_of(self._chosen) if self._chosen else None
        return {"chosen": chosen if chosen in ids else next(iter(ids), None), "runs": listed}

    def full(self, id: str) -> dict[str, Any]:
        """Everything that the page shows about a run. Raises RequestError if no run has this id."""
        return in_full(id, *self._known(id), self._weights)

    def load(self, id: str, moment: int | None = None) -> TrainedRun:
        """The run with its model loaded, at a moment of its training if one is given.

        Raises RequestError if no run has this id, UserError if it has no such moment.
        """
        run, summary = self._known(id)
        key = (id, summary.finished, moment)  # the time, because extending a run changes its weights
        with self._lock:
            if key not in self._open:
                weights = self._weights if moment is None else moment
                self._open[key] = load_run(run.path, weights=weights, device=self._device)
            self._open.move_to_end(key)
            while len(self._open) > _OPEN:
                self._open.popitem(last=False)
            return self._open[key]

    def _known(self, id: str) -> FinishedRun:
        if id not in self._found:
            self.briefly()
        if id not in self._found:
            raise RequestError("there is no such run: reload the page")
        return self._found[id]


def id_of(run: RunFolder) -> str:
    """The id of a run, from its path: another folder may have the same name."""
    return hashlib.sha256(bytes(run.path.absolute())).hexdigest()[:12]
