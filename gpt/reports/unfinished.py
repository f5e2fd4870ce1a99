"""Runs without a result: how far they got, and why they ended."""

import re
from dataclasses import dataclass
from typing import Any

from gpt.base.errors import UserError
from gpt.base.files import read_last_line
from gpt.runs.folder import RunFolder

_ENDED_BY = {"DivergedError": "diverged", "Stopped": "stopped", "PrunedError": "pruned"}


@dataclass(frozen=True)
class Unfinished:
    """A run without a summary."""

    run: RunFolder
    values: dict[str, Any]  # by key: those that vary in the table
    seed: int
    iteration: int  # the last that was evaluated or saved
    max_iters: int
    reason: str  # diverged, stopped, pruned, failed or unfinished

    @property
    def standing(self) -> str:
        """How it ended, in words."""
        return f"{self.reason} at iteration {self.iteration} of {self.max_iters}"


def unfinished(run: RunFolder, values: dict[str, Any]) -> Unfinished:
    """What is known of a run without a summary. Raises UserError if its configuration is damaged."""
    from gpt.runs.checkpoints import Checkpoints  # slow to import

    config = run.config()
    reached = [int(name) for name in Checkpoints(run, 1).names()]
    if (run.path / "metrics.jsonl").exists():
        reached += [evaluation.iteration for evaluation in run.evaluations()]
    return Unfinished(run, values, config.seed, max(reached, default=0), config.training.max_iters, _reason(run))


def _reason(run: RunFolder) -> str:
    """From the last line of the log; a run that was killed or is still running has logged no reason."""
    try:
        last = read_last_line(run.path / "train.log")
    except UserError:
        last = ""
    ended = re.search(r"ended by (\w+): ", last)
    return _ENDED_BY.get(ended[1], "failed") if ended else "unfinished"
