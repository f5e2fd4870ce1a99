"""The state of a run: whether it trains, has finished, or why it ended otherwise; and how far it got."""

import os
from dataclasses import dataclass
from typing import Any, Literal, Self

from gpt.base.errors import Ending
from gpt.runs.folder import RunFolder

# killed: it ended without a word, as in a crash of the machine
RunStateName = Literal["training", "finished", "killed"] | Ending


@dataclass(frozen=True)
class RunState:
    """What a run folder says of its run at this moment. Whoever changes the folder asks again under its lock."""

    name: RunStateName
    iteration: int  # the last that was evaluated, recorded or saved
    planned: int  # iterations

    @classmethod
    def of(cls, run: RunFolder) -> Self:
        """The state of a run that has started. Raises UserError if a file that says so is damaged."""
        planned, reached = run.config().training.max_iters, [0, *run.checkpoints()]
        if os.path.lexists(run.path / "metrics.jsonl"):
            reached.append(run.last_recorded().iteration)
        return cls(_name(run), max(reached), planned)

    def as_record(self) -> dict[str, Any]:
        """The state for programs."""
        return {"state": self.name, "iterations": self.iteration, "of": self.planned}

    def __str__(self) -> str:
        return f"{self.name} at iteration {self.iteration} of {self.planned}"


def _name(run: RunFolder) -> RunStateName:
    if run.is_finished():
        return "finished"
    if run.lock.is_taken():
        return "training"
    if run.is_finished():  # since it was asked first
        return "finished"
    ending = run.ending()
    return "killed" if ending is None or ending == "starting" else ending
