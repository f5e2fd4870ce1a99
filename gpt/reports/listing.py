"""The runs as a list, a line each: how good, what, how far, on which text, how old, where."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from tabulate import tabulate

from gpt.base.durations import format_duration
from gpt.base.errors import printable
from gpt.base.losses import Loss, nats_per
from gpt.config.keys import declared, unusual
from gpt.config.schema import TOKENIZER_KEYS
from gpt.config.values import parted
from gpt.runs.folder import RunFolder, RunState
from gpt.runs.records import now

_LONGEST = 48  # characters of a line's differences
_UNSAID = {"dir", "separator", "subset", "split", "field", *TOKENIZER_KEYS}  # a loader's keys that are not shown
_SAID = {"shakespeare": "tiny Shakespeare", "multi30k": "Multi30k"}  # corpora as people call them, by their loader


@dataclass(frozen=True)
class Line:
    """A run in the list."""

    run: RunFolder
    state: RunState
    stage: str
    name: str | None
    tags: list[str]
    seed: int
    loss: Loss | None  # the exact validation loss of a finished run
    changed: list[str]  # differences from the documented run, as key=value
    corpus: str
    when: datetime  # it finished, or was last started

    @classmethod
    def of(cls, run: RunFolder) -> Self:
        """The line of a run that has started. Raises UserError if it is damaged."""
        config, state, corpus = run.config(), RunState.of(run), corpus_name(run)
        own = (run, state, config.stage, config.name, list(config.tags), config.seed)
        if state.name == "finished":
            summary = run.summary()
            return cls(*own, summary.exact, summary.changes, corpus, summary.finished)
        commands = run.record().commands
        return cls(*own, None, [], corpus, commands[-1].started if commands else now())

    def as_record(self) -> dict[str, Any]:
        """The line for programs."""
        loss = self.loss and {"loss": self.loss.common, "unit": self.loss.unit, "objection": self.loss.objection}
        own = {key: value for key, value in vars(self).items() if key != "run"} | self.state.as_record()
        return {"folder": str(self.run.path)} | own | (loss or {}) | {"when": self.when.isoformat()}


def by_loss(lines: list[Line]) -> list[Line]:
    """The lines by loss, the lowest first, in groups that can be compared; runs without a loss come last."""
    keys = list(dict.fromkeys(line.loss.key for line in lines if line.loss))

    def place(line: Line) -> tuple[bool, int, float]:
        if line.loss is None:
            return True, 0, 0.0
        return False, keys.index(line.loss.key), line.loss.common

    return sorted(lines, key=place)


def table(lines: list[Line]) -> str:
    """The list for a terminal, with an explanation of its losses."""
    headers = ["loss", "run", "iterations", "on", "age", "tags", "folder"]
    sides = ["right", "left", "right", "left", "right", "left", "left"]
    parts = [tabulate(map(_cells, lines), headers, tablefmt="plain", disable_numparse=True, colalign=sides)]
    if losses := [line.loss for line in lines if line.loss]:
        units = " or ".join(sorted({loss.unit for loss in losses}))
        parts += ["", f"loss: exact on the validation split, in {nats_per(units)}."]
    if len({loss.key for loss in losses}) > 1:
        parts.append("Losses on different texts cannot be compared; with sort=loss, each text has its own order.")
    notes = [f"measured {loss.objection}" for loss in losses if loss.objection]
    return "\n".join([*parts, *(printable(f"*: {note}.") for note in dict.fromkeys(notes))])


def _cells(line: Line) -> list[str]:
    state = line.state
    cells = [
        f"{line.loss.common:.4f}{'*' if line.loss.objection else ''}" if line.loss else state.name,
        " ".join(filter(None, [line.stage, line.name, f"seed {line.seed}", differing(line.changed)])),
        f"{state.iteration:,}" + ("" if state.name == "finished" else f" of {state.planned:,}"),
        line.corpus,
        format_duration(max(0.0, (now() - line.when).total_seconds())),
        ",".join(line.tags),
        str(line.run.path),
    ]
    return [printable(cell) for cell in cells]


def differing(changed: Sequence[str]) -> str:
    """What differs from the documented run: values in few characters, max_iters=300, eval_iters=5; sentences whole."""
    parts = [parted(change) for change in changed if "=" in change]
    text = ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in parts)
    values = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return ", ".join(filter(None, [values, *(change for change in changed if "=" not in change)]))


def corpus_name(run: RunFolder) -> str:
    """The name of the corpus, with the values of its loader that are not defaults."""
    data = run.config().data
    loader, values = data.target.rpartition(".")[2], data.hyperparameters
    naming = [key for key in values if key == "name" or (declared(f"data.{key}").role == "place" and key != "dir")]
    places = [values[key] for key in naming if values[key]]
    paths = [path for place in places for path in (place if isinstance(place, list) else [place])]
    name = " and ".join(Path(str(path)).name or str(path) for path in paths) or _SAID.get(loader, loader)
    aside = {*naming, *_UNSAID}
    rest = [f"{key}={value}" for key, value in unusual("data", data).items() if key not in aside]
    return ", ".join([name, *rest])
