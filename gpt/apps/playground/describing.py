"""A run's records as the page shows them, as JSON."""

from typing import Any

from gpt import tasks
from gpt.base.errors import UserError, printable
from gpt.base.files import read_text_file
from gpt.models import block_size_of
from gpt.models.ngrams import Remembering
from gpt.reports.changes import changes
from gpt.runs.folder import RunFolder
from gpt.runs.records import Summary
from gpt.runs.weights import planned_model
from gpt.tasks import Continuation, Task, Translation

_POINTS = 400  # of a curve; more cannot be told apart
_SAMPLE = 400  # characters


def in_brief(id: str, run: RunFolder, summary: Summary) -> dict[str, Any]:
    """A run's entry in the list of runs. Raises UserError if it is damaged, or if the page is not for its task."""
    return {
        "id": id, "stage": summary.stage, "name": summary.name, "seed": summary.seed,
        "folder": printable(str(run.path)), "exact": summary.exact.val, "translates": _task(run) is Translation,
        "finished": summary.finished.isoformat(timespec="minutes"),
    }  # fmt: skip


def in_full(id: str, run: RunFolder, summary: Summary) -> dict[str, Any]:
    """The details of the chosen run. Raises UserError if one of its files is damaged."""
    config, vocabulary = run.config(), run.vocabulary().vocabulary
    task, model = _task(run), planned_model(run)
    token = "subword" if task is Translation else run.tokenizer.unit
    rows = run.evaluations()
    stride = -(-len(rows) // _POINTS)
    kept = [*rows[:-1:stride], rows[-1]]
    return in_brief(id, run, summary) | {
        "adds": config.adds, "parameters": summary.parameters, "iterations": summary.iterations,
        "token": token,
        "vocabulary": "".join(sorted(vocabulary)) if task is Continuation else None, "vocabulary_size": len(vocabulary),
        "block_size": block_size_of(model), "contains_text": isinstance(model, Remembering),
        "changed": changes(summary),
        "documented": summary.documented.model_dump(), "estimated": summary.estimated.model_dump(),
        "curve": [{"iteration": row.iteration, "train": row.train, "val": row.val} for row in kept],
        "sample": _sample(run),
    }  # fmt: skip


def _task(run: RunFolder) -> type[Task]:
    task = tasks.of(run.config().data)
    if task not in (Continuation, Translation):
        raise UserError(f"{run.path} {task.does}, which the page cannot show")
    return task


def _sample(run: RunFolder) -> str:
    try:
        return read_text_file(run.path / "sample.txt")[:_SAMPLE]
    except UserError:  # the only file read here without a checksum; nothing depends on it
        return ""
