"""The base class of watchers that receive the results of a run."""

from gpt.runs.records import Summary
from gpt.training.watchers import Watcher


class RunWatcher(Watcher):
    """A watcher that outlives the training and receives the results."""

    def reported(self, summary: Summary, lines: list[str]) -> None:
        """The results are in the run folder; `lines` are the report that ends the run's log."""
