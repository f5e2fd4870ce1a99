"""What a tracker's process is given, and what it puts that into.

A tracker works in a process of its own, so that whatever its library does (wait for a network, print, fail) cannot slow
or end the training. gpt/watching/trackers.py sends it what there is to record.
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


class Sink(Protocol):
    """Where the process of a tracker puts what it is sent.

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
