"""metrics.jsonl: one line per evaluation and per recorded step; `kind` says which."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from gpt.base.errors import UserError
from gpt.base.files import parsing, read_text_file, seal
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
    found = [parse_record(path, line, Evaluation, _without_kind) for line in _of_kind("evaluation", path, _lines(path))]
    if not found:
        raise UserError(f"{path} is damaged: it is empty")
    return found


def steps(path: Path) -> list[Step]:
    """The recorded steps in order. Raises UserError if the file is damaged."""
    return [parse_record(path, line, Step, _without_kind) for line in _of_kind("step", path, _lines(path))]


def last_evaluation(path: Path) -> Evaluation | None:
    """The last evaluation, if any; the lines before it are not parsed."""
    line = next(_of_kind("evaluation", path, reversed(_lines(path))), None)
    return None if line is None else parse_record(path, line, Evaluation, _without_kind)


def _lines(path: Path) -> list[str]:
    return read_text_file(path).splitlines()


def _of_kind(kind: Kind, path: Path, lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        with parsing(path):
            found = kind_of_line(json.loads(line))
        if found not in ("evaluation", "step"):
            raise UserError(f"{path} is damaged: a line of it is neither an evaluation nor a step")
        if found == kind:
            yield line


def _without_kind(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != "kind"}
