"""metrics.jsonl: one line per evaluation and per recorded step; `kind` says which."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from gpt.base.errors import UserError
from gpt.base.files import parsed, parsing, read_last_line, read_lines, seal
from gpt.runs.formats import kind_of_line
from gpt.runs.records import parse_record
from gpt.training.progress import Evaluation, Progress, Step

Kind = Literal["evaluation", "step"]


def dumped(progress: Progress) -> str:
    """The content of metrics.jsonl. If an iteration has both, the step comes first."""
    rows: list[tuple[Kind, Step | Evaluation]] = [("step", step) for step in progress.steps]
    rows += [("evaluation", evaluation) for evaluation in progress.evaluations]
    rows.sort(key=lambda row: row[1].iteration)
    return "".join(seal({"kind": kind} | row.model_dump(mode="json")) + "\n" for kind, row in rows)


def evaluations(path: Path) -> list[Evaluation]:
    """The evaluations in order. Raises UserError if there are none or the file is damaged."""
    found = [parse_record(path, line, Evaluation, _without_kind) for line in _of_kind("evaluation", path)]
    if not found:
        raise UserError(f"{path} is damaged: it is empty")
    return found


def steps(path: Path) -> list[Step]:
    """The recorded steps in order. Raises UserError if the file is damaged."""
    return [parse_record(path, line, Step, _without_kind) for line in _of_kind("step", path)]


def last_evaluation(path: Path) -> Evaluation | None:
    """The evaluation in the last line, if it is one; the lines before it are not read."""
    line = read_last_line(path)
    return parse_record(path, line, Evaluation, _without_kind) if _kind(path, line) == "evaluation" else None


def _of_kind(kind: Kind, path: Path) -> Iterator[str]:
    return (line for line in read_lines(path) if _kind(path, line) == kind)


def _kind(path: Path, line: str) -> Kind:
    with parsing(path):
        found: Kind = kind_of_line(parsed(line, path))
    if found not in ("evaluation", "step"):
        raise UserError(f"{path} is damaged: a line of it is neither an evaluation nor a step")
    return found


def _without_kind(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != "kind"}
