"""Evaluation of a trained run: its exact loss, the loss in sliding windows, and the scores of its task."""

import json
import math
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpt.base.command_schemas import EvaluateConfig
from gpt.base.errors import RequestError, printable
from gpt.data.batch import Targets
from gpt.data.corpus import TextCorpus
from gpt.data.sources import read_text
from gpt.runs.records import Seen
from gpt.runs.weights import in_words
from gpt.session.seen import seen_in_training
from gpt.session.trained import TrainedRun
from gpt.tasks.task import Measure
from gpt.training.evaluation import exact_loss, loss_over, tokens_per_pass
from gpt.training.progress import ExactLoss


@dataclass(frozen=True)
class Measured:
    """The measurements of a run."""

    trained: TrainedRun
    what: str  # the split or the text
    exact: ExactLoss
    left_out: int  # characters that the vocabulary lacks, which no loss counts
    others: list[Measure] = field(default_factory=list)
    losses: list[tuple[str, float]] | None = None  # of each token of a text, if that was asked for
    seen: Seen | None = None  # what of it the run was trained on, or a run that its weights come from

    @property
    def title(self) -> str:
        """One line that names the weights and the data."""
        trained = self.trained
        return f"{trained.config.stage}, {in_words(trained.which)} of {trained.run.path}, {self.what}"

    def table(self) -> str:
        """The measures, one per row."""
        from tabulate import tabulate

        exact, token = self.exact, self.trained.task.token
        rows = [("exact loss", f"{exact.loss:.4f}", f"nats per {token}")]
        rows += [("", f"{exact.loss / math.log(2):.4f}", f"bits per {token}")]
        if exact.per_character is not None and token != "character":
            rows += [("", f"{exact.per_character:.4f}", "nats per character")]
        if exact.bits_per_byte is not None and token != "byte":
            rows += [("", f"{exact.bits_per_byte:.4f}", "bits per byte")]
        left_out = f"; {self.left_out:,} left out because the vocabulary lacks them" if self.left_out else ""
        rows += [("scored", exact.over, f"targets{left_out}")]
        if self.seen is not None:
            where = f"{self.seen.unit}s, in the training split of {printable(self.seen.run)}"
            rows += [("trained on", f"{self.seen.count:,} of {self.seen.of:,}", where)]
        rows += [(measure.name, f"{measure.value:.{measure.digits}f}", measure.unit) for measure in self.others]
        table = tabulate(rows, ["measure", "value", "unit or signature"], disable_numparse=True)
        return "\n".join([table, *(f"{loss:.4f} {token!r}" for token, loss in self.losses or [])])

    def as_json(self) -> str:
        """The same as JSON."""
        trained, token, exact = self.trained, self.trained.task.token, self.exact
        found: dict[str, Any] = {"run": str(trained.run.path), "stage": trained.config.stage, "weights": trained.which}
        found |= {
            "measured": self.what, f"nats_per_{token}": exact.loss, f"bits_per_{token}": exact.loss / math.log(2)
        }  # fmt: skip
        if exact.per_character is not None:
            found["nats_per_character"] = exact.per_character
        if exact.bits_per_byte is not None:
            found["bits_per_byte"] = exact.bits_per_byte
        found |= {"scored": exact.targets, "of": exact.of, "left_out": self.left_out}
        if self.seen is not None:
            found["trained_on"] = self.seen.model_dump()
        for measure in self.others:
            found["_".join(re.findall(r"\w+", measure.name))] = {"value": measure.value, "signature": measure.unit}
        if self.losses is not None:
            found["losses"] = self.losses
        return json.dumps(found, indent=2)


def measured(trained: TrainedRun, config: EvaluateConfig, given: Collection[str] = ()) -> Measured:
    """Measure a run on a split of its corpus or on the text file `config.text`.

    `given` are the keys on the command line. Raises RequestError for a key of another task or a split that the corpus
    lacks, UserError if the corpus is missing or has changed.
    """
    task, most = trained.task, config.exact_tokens
    task.refuse_others(given)
    data_keys = [key for key in given if key.startswith("data.")]
    if config.text is not None:
        if config.split is not None:
            raise RequestError("text= is measured as a whole: omit split=")
        if data_keys:
            raise RequestError(f"text= is measured alone: omit {data_keys[0]}=")
        return _of_text(trained, config.text, most, each=config.losses)
    if config.losses:
        raise RequestError("losses=true shows the loss of each token of a text: add text=FILE")
    corpus = trained.corpus(config.data, data_keys)
    split = task.split(config.split, corpus)
    data = task.data(corpus, trained.model, trained.device)
    exact = exact_loss(trained.model, data, split, most=most, runtime=trained.runtime)
    others = task.scores(trained.model, corpus, split, config)
    size = tokens_per_pass(trained.runtime, trained.model)
    others += _in_context(trained, data.every_target_in_context(split, size, most))
    left_out = task.left_out(corpus)
    seen = None if split == "train" else seen_in_training(trained.run, task, corpus, split, trained.model)
    count = 0 if left_out is None else left_out.in_split(split)
    return Measured(trained, f"{split} split", exact, count, others, seen=seen)


def _of_text(trained: TrainedRun, path: str, most: int | None, *, each: bool) -> Measured:
    """The text in a file, as a whole and, if `each`, by token."""
    task, size = trained.task, tokens_per_pass(trained.runtime, trained.model)
    text = read_text(Path(path), errors=task.undecodable)
    known = task.known(text)
    targets = task.batches(trained.model, known, None, tokens_per_pass=size, most=most)
    exact = loss_over(
        trained.model, targets, "loss of the text", trained.runtime, sizes=trained.tokenizer.sizes_in(text)
    )
    others = _in_context(trained, task.batches_in_context(trained.model, known, tokens_per_pass=size, most=most))
    losses = trained.losses(text) if each else None
    seen = seen_in_training(trained.run, task, TextCorpus("", known), "val", trained.model, f"text {path}")
    return Measured(trained, f"the text {path}", exact, len(text) - len(known), others, losses, seen)


def _in_context(trained: TrainedRun, targets: Targets | None) -> list[Measure]:
    """The loss in sliding windows, of a task that has windows."""
    if targets is None:
        return []
    found = loss_over(trained.model, targets, "loss in sliding windows", trained.runtime)
    unit = f"nats per {trained.task.token}, each with at least half a window of context"
    return [Measure("in sliding windows", found.loss, unit, digits=4)]
