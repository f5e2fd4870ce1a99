"""The interface of a tracker's process: the run it receives, and the sink in which it stores the records.

A tracker works in a separate process, so that whatever its library does (wait for a network, print, fail) cannot slow
or end the training. gpt/watching/trackers.py sends it the records.
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
    """Where a tracker's process stores the records it receives.

    The constructor opens the tracker's record of the run. After a resume, all rows since iteration 0 are logged again;
    older values must be removed or replaced, so that each value is there once.
    """

    address: str  # where to view the run

    def __init__(self, run: Run) -> None: ...

    def log(self, step: int, values: dict[str, float], texts: dict[str, str]) -> None:
        """Record the values of an iteration, and its texts; iterations come in ascending order, each once."""

    def report(self, step: int, values: dict[str, float], texts: dict[str, str]) -> None:
        """Record the results of a run that has finished."""

    def close(self, is_finished: bool) -> None:
        """Deliver everything."""
