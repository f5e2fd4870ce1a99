"""metrics.jsonl: one line per evaluation and per recorded step; `kind` says which."""

import json
from collections.abc import Iterator
from pathlib import Path

from gpt.base.errors import UserError
from gpt.base.files import parsing, read_last_line, read_lines
from gpt.runs.formats import from_json, to_json
from gpt.training.progress import Evaluation, Progress, Step

_KINDS: dict[str, type[Step | Evaluation]] = {"step": Step, "evaluation": Evaluation}


def dumped(progress: Progress) -> str:
    """The content of metrics.jsonl. If an iteration has both, the step comes first."""
    rows: list[tuple[str, Step | Evaluation]] = [("step", step) for step in progress.steps]
    rows += [("evaluation", evaluation) for evaluation in progress.evaluations]
    rows.sort(key=lambda row: row[1].iteration)
    return "".join(to_json({"kind": kind} | row.model_dump(mode="json")) for kind, row in rows)


def evaluations(path: Path) -> list[Evaluation]:
    """The evaluations in order. Raises UserError if there are none or the file is damaged."""
    found = [row for row in _rows(path) if isinstance(row, Evaluation)]
    if not found:
        raise UserError(f"{path} is damaged: it is empty")
    return found


def steps(path: Path) -> list[Step]:
    """The recorded steps in order. Raises UserError if the file is damaged."""
    return [row for row in _rows(path) if isinstance(row, Step)]


def last(path: Path) -> Step | Evaluation:
    """What the last line says; the lines before it are not read. Raises UserError if it is damaged."""
    return _row(path, read_last_line(path))


def _rows(path: Path) -> Iterator[Step | Evaluation]:
    return (_row(path, line) for line in read_lines(path))


def _row(path: Path, line: str) -> Step | Evaluation:
    with parsing(path):
        fields = from_json(line, path)
        kind = fields.pop("kind", None)
        if kind not in _KINDS:
            raise UserError(f"{path} is damaged: a line of it is neither an evaluation nor a step")
        return _KINDS[kind].model_validate_json(json.dumps(fields))
