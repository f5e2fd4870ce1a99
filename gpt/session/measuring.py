"""Evaluation of a trained run: its exact loss, the loss in sliding windows, and the scores of its task."""

import json
import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gpt.base.errors import RequestError
from gpt.base.schema import EvaluateConfig
from gpt.data.batch import Batch
from gpt.data.corpora import read_text
from gpt.session.trained import TrainedRun
from gpt.tasks.task import Measure
from gpt.training.evaluation import mean_of_all, tokens_per_pass


@dataclass(frozen=True)
class Measured:
    """The measurements of a run."""

    trained: TrainedRun
    what: str  # the split or the text
    loss: float  # nats per token
    scored: int  # tokens that the loss is the mean over
    left_out: int  # characters that the vocabulary lacks, which no loss counts
    others: list[Measure] = field(default_factory=list)
    losses: list[tuple[str, float]] | None = None  # of each character of a text, if that was asked for

    @property
    def bits(self) -> float:
        """The loss in bits per token."""
        return self.loss / math.log(2)

    @property
    def title(self) -> str:
        """One line that names the weights and the data."""
        trained = self.trained
        return f"{trained.config.stage}, {trained.which} weights of {trained.run.path}, {self.what}"

    def table(self) -> str:
        """The measures, one per row."""
        from tabulate import tabulate

        token = self.trained.task.token
        rows = [("exact loss", f"{self.loss:.4f}", f"nats per {token}"), ("", f"{self.bits:.4f}", f"bits per {token}")]
        left_out = f"; {self.left_out:,} left out because the vocabulary lacks them" if self.left_out else ""
        rows += [("scored", f"{self.scored:,}", f"{token}s{left_out}")]
        rows += [(measure.name, f"{measure.value:.{measure.digits}f}", measure.unit) for measure in self.others]
        table = tabulate(rows, ["measure", "value", "unit or signature"], disable_numparse=True)
        return "\n".join([table, *(f"{loss:.4f} {character!r}" for character, loss in self.losses or [])])

    def as_json(self) -> str:
        """The same as JSON."""
        trained, token = self.trained, self.trained.task.token
        named = {"run": str(trained.run.path), "stage": trained.config.stage, "weights": trained.which}
        losses = {"measured": self.what, f"nats_per_{token}": self.loss, f"bits_per_{token}": self.bits}
        losses |= {"scored": self.scored, "left_out": self.left_out}
        others = {
            measure.name.replace(" ", "_"): {"value": measure.value, "signature": measure.unit}
            for measure in self.others
        }
        each = {} if self.losses is None else {"losses": self.losses}
        return json.dumps(named | losses | others | each, indent=2)


def measured(trained: TrainedRun, config: EvaluateConfig, given: Collection[str] = ()) -> Measured:
    """Measure a run on a split of its corpus or on the text file `config.text`.

    `given` are the keys on the command line. Raises RequestError for a key of another task or a split that the corpus
    lacks, UserError if the corpus is missing or has changed.
    """
    task = trained.task
    task.refuse_others(given)
    data_keys = [key for key in given if key.startswith("data.")]
    if config.text is not None:
        if config.split is not None:
            raise RequestError("text= is measured as a whole: omit split=")
        if data_keys:
            raise RequestError(f"text= is measured alone: omit {data_keys[0]}=")
        return _of_text(trained, config.text, each=config.losses)
    if config.losses:
        raise RequestError("losses=true shows the loss of each character of a text: add text=FILE")
    split = task.split(config.split)
    corpus = trained.corpus(config.data, data_keys)
    data = task.data(corpus, trained.model, trained.device)
    size = tokens_per_pass(trained.runtime, trained.model)
    loss, scored = _mean_loss(trained, data.every_target_once(split, size), f"exact {split} loss")
    others = task.scores(trained.model, corpus, split, config)
    others += _in_context(trained, data.every_target_in_context(split, size))
    left_out = task.left_out(corpus)
    return Measured(
        trained, f"{split} split", loss, scored, 0 if left_out is None else getattr(left_out, split), others
    )


def _of_text(trained: TrainedRun, path: str, *, each: bool) -> Measured:
    """The text in a file, as a whole and, if `each`, by character."""
    text, task, size = read_text(Path(path)), trained.task, tokens_per_pass(trained.runtime, trained.model)
    known = task.known(text)
    loss, scored = _mean_loss(
        trained, task.batches(trained.model, known, None, tokens_per_pass=size), "loss of the text"
    )
    others = _in_context(trained, task.batches_in_context(trained.model, known, tokens_per_pass=size))
    losses = trained.losses(text) if each else None
    return Measured(trained, f"the text {path}", loss, scored, len(text) - len(known), others, losses)


def _in_context(trained: TrainedRun, batches: Iterable[Batch] | None) -> list[Measure]:
    """The loss in sliding windows, of a task that has windows."""
    if batches is None:
        return []
    loss, _ = _mean_loss(trained, batches, "loss in sliding windows")
    unit = f"nats per {trained.task.token}, each with at least half a window of context"
    return [Measure("in sliding windows", loss, unit, digits=4)]


def _mean_loss(trained: TrainedRun, batches: Iterable[Batch], name: str) -> tuple[float, int]:
    """The mean over all targets, and their number."""
    scored = 0

    def counted() -> Iterator[Batch]:
        nonlocal scored
        for batch in batches:
            scored += batch.tokens
            yield batch

    loss = mean_of_all(trained.model, counted(), name, trained.runtime)
    return loss, scored
