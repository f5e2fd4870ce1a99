"""The runs as a list, a line each: how good, what, how far, on which text, how old, where."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from tabulate import tabulate

from gpt.base.durations import spoken
from gpt.base.errors import printable
from gpt.base.losses import Loss
from gpt.reports.corpus_names import corpus_name
from gpt.reports.unfinished import unfinished
from gpt.runs.finding import FinishedRun
from gpt.runs.folder import RunFolder
from gpt.runs.records import now

_LONGEST = 48  # characters of what differs


@dataclass(frozen=True)
class Line:
    """A run in the list."""

    folder: str
    stage: str
    name: str | None
    tags: list[str]
    seed: int
    state: str  # finished; training, or why it ended: failed, diverged, stopped, pruned, unfinished
    loss: Loss | None  # the exact validation loss of a finished run
    iterations: int
    of: int  # iterations of the whole training
    changed: list[str]  # from the documented run, as key=value
    corpus: str
    when: datetime  # it finished, or was last started

    @classmethod
    def of_finished(cls, run: FinishedRun) -> Self:
        """Of a finished run. Raises UserError if it is damaged."""
        folder, summary = run
        return cls(
            str(folder.path), summary.stage, summary.name, list(summary.tags), summary.seed, "finished",
            summary.exact, summary.iterations, summary.iterations, summary.changes,
            corpus_name(folder), summary.finished,
        )  # fmt: skip

    @classmethod
    def of_unfinished(cls, run: RunFolder) -> Self:
        """Of a run that has started. Raises UserError if it is damaged."""
        config, commands = run.config(), run.commands()
        known = unfinished(run, {})
        return cls(
            str(run.path), config.stage, config.name, list(config.tags), config.seed,
            "training" if run.lock.is_taken() else known.reason,
            None, known.iteration, known.max_iters, [], corpus_name(run), commands[-1].started if commands else now(),
        )  # fmt: skip

    def as_record(self) -> dict[str, Any]:
        """The line for programs."""
        loss = self.loss and {"loss": self.loss.common, "unit": self.loss.unit, "objection": self.loss.objection}
        return vars(self) | (loss or {}) | {"when": self.when.isoformat()}


def by_loss(lines: list[Line]) -> list[Line]:
    """The lines by loss, the lowest first; those that cannot be compared are kept apart, and runs without one last.

    A loss on text that the model was trained on comes after all others.
    """
    keys = list(dict.fromkeys(line.loss.key for line in lines if line.loss))

    def place(line: Line) -> tuple[bool, bool, int, float]:
        if line.loss is None:
            return True, False, 0, 0.0
        return False, bool(line.loss.over.seen), keys.index(line.loss.key), line.loss.common

    return sorted(lines, key=place)


def table(lines: list[Line]) -> str:
    """The list for a terminal, with what its losses are."""
    losses = [line.loss for line in lines if line.loss]
    notes = [f"loss: exact on the validation split, in nats per {' or '.join(sorted({x.unit for x in losses}))}."]
    if len({loss.key for loss in losses}) > 1:
        notes.append("Losses on different texts cannot be compared; with sort=loss, each text has its own order.")
    notes += [f"*: {loss.over.seen}." for loss in losses if loss.over.seen]
    return "\n".join([_rows(lines), *(["", *map(printable, notes)] if losses else [])])


def _rows(lines: list[Line]) -> str:
    headers = ["loss", "run", "iterations", "on", "age", "tags", "folder"]
    sides = ["right", "left", "right", "left", "right", "left", "left"]
    return tabulate(map(_cells, lines), headers, tablefmt="plain", disable_numparse=True, colalign=sides)


def differing(changed: Sequence[str]) -> str:
    """What differs from the documented run, in few characters: max_iters=300, eval_iters=5."""
    parts = [change.partition("=") for change in changed]
    text = ", ".join(f"{key.rpartition('.')[2]}{equals}{value}" for key, equals, value in parts)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _cells(line: Line) -> list[str]:
    is_done = line.state == "finished"
    cells = [
        f"{line.loss.common:.4f}{'*' if line.loss.over.seen else ''}" if line.loss else line.state,
        " ".join(filter(None, [line.stage, line.name, f"seed {line.seed}", differing(line.changed)])),
        f"{line.iterations:,}" if is_done else f"{line.iterations:,} of {line.of:,}",
        line.corpus,
        f"{spoken(max(0.0, (now() - line.when).total_seconds()))}",
        ",".join(line.tags),
        line.folder,
    ]
    return [printable(cell) for cell in cells]
