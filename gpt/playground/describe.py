"""A run's records as the page shows them, as JSON."""

import re
from dataclasses import asdict
from typing import Any

from gpt import tasks
from gpt.base.errors import RequestError, UserError, printable
from gpt.base.files import read_text_file
from gpt.base.losses import in_words
from gpt.config.documented import documented
from gpt.config.schema import Weights
from gpt.data.tokenizer import TextTokenizer
from gpt.data.vocabulary import Vocabulary
from gpt.inspection.dataflow import dataflow
from gpt.inspection.parts import can_be_opened, parts, switches
from gpt.models import Remembering
from gpt.playground.inspect import LONGEST_CONTEXT, stride
from gpt.reports.listing import differing
from gpt.reports.run import loss_rows
from gpt.runs.folder import RunFolder
from gpt.runs.records import Summary
from gpt.runs.weights import leading_to, planned_model, selected
from gpt.tasks.continuation import Continuation
from gpt.tasks.task import Task
from gpt.tasks.translation import Translation
from gpt.training.state import Evaluation

TOKENIZERS = {"bytes", "characters", "gpt2", "subwords", "words"}  # known to page/encoding.js
_POINTS = 400  # of a curve; more look the same
_LINE = "ROMEO:\nBut, soft! what light through yonder window breaks?\n"
_SAMPLE, _SENTENCES = 80, 400  # characters: of a sample of text, and of one of translations


def in_brief(id: str, run: RunFolder, summary: Summary) -> dict[str, Any]:
    """A run's entry in the list of runs. Raises UserError if it is damaged, or if the page is not for its task."""
    return {
        "id": id,
        "stage": summary.stage,
        "name": summary.name,
        "seed": summary.seed,
        "differing": differing(summary.changes),
        "folder": printable(str(run.path)),
        "loss": {"nats": summary.exact.common, "unit": summary.exact.unit, "how": summary.exact.how},
        "translates": _task(run) is Translation,
        "finished": summary.finished.isoformat(timespec="minutes"),
    }


def in_full(id: str, run: RunFolder, summary: Summary, weights: Weights = "auto") -> dict[str, Any]:
    """The details of the chosen run, shown with these weights. Raises UserError if one of its files is damaged."""
    config, model = run.config(), planned_model(run)
    tokenizer = None if _task(run) is Translation else run.tokenizer
    opens = tokenizer is not None and can_be_opened(model)
    which, unit = selected(run, weights), "subword" if tokenizer is None else tokenizer.unit
    return in_brief(id, run, summary) | {
        "adds": config.adds,
        "parameters": summary.parameters,
        "iterations": summary.iterations,
        "token": unit,
        "vocabulary": None if tokenizer is None else tokenizer.shown,
        "vocabulary_size": len(run.vocabulary().vocabulary),
        "tokenizer": _described(run.vocabulary() if tokenizer is None else tokenizer),
        "block_size": model.block_size,
        "stride": stride(model.block_size),
        "longest_context": LONGEST_CONTEXT,
        "contains_text": isinstance(model, Remembering),
        "opens": opens,
        "parts": [] if tokenizer is None else parts(model),
        "switches": {} if tokenizer is None else switches(model),
        "flow": [asdict(row) for row in dataflow(model, unit)] if tokenizer is not None and opens else [],
        "changed": summary.changes,
        "answers_only": summary.exact.over.answers_only,
        "losses": [
            {"name": row.name, "nats": row.train if row.val is None else row.val, "unit": unit, "kind": row.note}
            for row in loss_rows(summary)
        ],
        "documented": documented_of(run),
        "curve": curve_of(run.evaluations()),
        "prompt": _prompt(run, tokenizer),
        "weights": in_words(which),
        "moments": list(leading_to(run, which)),
    }


def documented_of(run: RunFolder) -> dict[str, Any] | None:
    """The documented run of a run's stage: its validation loss, if known, and settings that a reader may change.

    None for a stage without a documented run.
    """
    try:
        training = documented(run.config().stage)["training"]
    except RequestError:
        return None
    settings = {f"training.{key}": training[key] for key in ("max_iters", "batch_size", "learning_rate")}
    return {"val": run.documented().val, "settings": settings}


def curve_of(rows: list[Evaluation]) -> list[dict[str, float]]:
    """At most about 400 estimates of a run, with the last one."""
    kept = [*rows[: -1 : -(-len(rows) // _POINTS)], *rows[-1:]] if rows else []
    return [{"iteration": row.iteration, "train": row.train, "val": row.val} for row in kept]


def _task(run: RunFolder) -> type[Task]:
    data = run.config().data
    task, kind = tasks.of(data), data.hyperparameters.get("tokenizer", "characters")
    if task not in (Continuation, Translation):
        raise UserError(f"{run.path} {task.purpose}, which the page cannot show")
    if task is Continuation and kind not in TOKENIZERS:
        raise UserError(f"{run.path} has tokenizer={kind}, which the page does not know")
    return task


def _described(tokenizer: TextTokenizer | Vocabulary) -> dict[str, Any]:
    """The data for page/encoding.js; it knows bytes, and takes characters and words from `vocabulary`."""
    merged = {"vocabulary": tokenizer.vocabulary, "merges": tokenizer.merges} if tokenizer.merges else {}
    return {"kind": tokenizer.kind, **merged}


def _prompt(run: RunFolder, tokenizer: TextTokenizer | None) -> str:
    """A prompt that suits a run: the documented corpus's best known line, or the beginning of the run's own sample."""
    if tokenizer is not None and tokenizer.without_unknown(_LINE) == (_LINE, ""):
        return _LINE
    try:
        sample = read_text_file(run.path / "sample.txt")
    except UserError:  # Nothing depends on this file.
        return ""
    if tokenizer is not None:
        return tokenizer.without_unknown(sample[:_SAMPLE])[0]
    source = re.search(r"^\s*source (.+)$", sample[:_SENTENCES], re.MULTILINE)
    return "" if source is None else source[1]
