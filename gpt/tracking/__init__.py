"""Trackers: tools that collect and show the curves of many runs, each behind the same small interface.

A tracker works in a process of its own, `python -m gpt.tracking NAME`, so that whatever its library does (wait for a
network, print, fail) cannot slow or end the training. gpt/training/trackers.py sends it what there is to record.
"""

from pathlib import Path
from typing import Any, NamedTuple, Protocol


class Run(NamedTuple):
    """The run to record."""

    id: str  # stays the same when the run is resumed
    name: str
    folder: Path
    config: dict[str, Any]
    options: dict[str, Any]  # of the tracker


class Tracker(Protocol):
    """What a module of this package has: a class of this name.

    The constructor opens the tracker's record of the run. Whatever the record has from before a resume is removed or
    kept in such a way that each value is there once after all rows since iteration 0 have been logged.
    """

    address: str  # where to look at it

    def __init__(self, run: Run) -> None: ...

    def log(self, step: int, values: dict[str, float]) -> None:
        """Record the values of an iteration; iterations come in ascending order, each once."""

    def report(self, step: int, values: dict[str, float], texts: dict[str, str]) -> None:
        """Record the results of a run that has finished."""

    def close(self, is_finished: bool) -> None:
        """Deliver everything."""
