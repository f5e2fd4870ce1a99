"""What the page shows of a run's records, as JSON."""

from typing import Any

from gpt.errors import UserError, printable
from gpt.files import read_text_file
from gpt.models import block_size_of
from gpt.runs.folder import RunFolder
from gpt.runs.records import Summary
from gpt.runs.weights import planned_model

_POINTS = 400  # of a curve; more cannot be told apart
_SAMPLE = 400  # characters


def in_brief(id: str, run: RunFolder, summary: Summary) -> dict[str, Any]:
    """What a list of runs shows of one. Raises UserError if its vocabulary is damaged."""
    translates = not isinstance(run.vocabulary().vocabulary, str)
    return {
        "id": id, "stage": summary.stage, "name": summary.name, "seed": summary.seed,
        "folder": printable(str(run.path)), "exact": summary.exact.val, "translates": translates,
        "finished": summary.finished.isoformat(timespec="minutes"),
    }  # fmt: skip


def in_full(id: str, run: RunFolder, summary: Summary) -> dict[str, Any]:
    """What the page shows of the chosen run. Raises UserError if a file of it is damaged."""
    config, vocabulary = run.config(), run.vocabulary().vocabulary
    translates = not isinstance(vocabulary, str)
    rows = run.metrics()
    stride = -(-len(rows) // _POINTS)
    kept = [*rows[:-1:stride], rows[-1]]
    return in_brief(id, run, summary) | {
        "adds": config.adds, "parameters": summary.parameters, "iterations": summary.iterations,
        "token": "subword" if translates else "character",
        "vocabulary": None if translates else "".join(sorted(vocabulary)), "vocabulary_size": len(vocabulary),
        "block_size": block_size_of(planned_model(run)), "changed": summary.changed,
        "documented": summary.documented.model_dump(), "estimated": summary.estimated.model_dump(),
        "curve": [{"iteration": row.iteration, "train": row.train, "val": row.val} for row in kept],
        "sample": _sample(run),
    }  # fmt: skip


def _sample(run: RunFolder) -> str:
    try:
        return read_text_file(run.path / "sample.txt")[:_SAMPLE]
    except UserError:  # the one file here that has no checksum, and that nothing depends on
        return ""
