"""Evaluation of a trained run: its exact loss, the loss in sliding windows, and the scores of its task."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpt.base.errors import RequestError
from gpt.base.losses import Loss, Over, in_words
from gpt.config.command_schemas import EvaluateConfig
from gpt.data.batch import Targets
from gpt.data.corpus import TextCorpus
from gpt.data.records import read_text
from gpt.session.trained import TrainedRun
from gpt.tasks.task import Measure
from gpt.training.evaluation import exact_loss, loss_over, tokens_per_pass


@dataclass(frozen=True)
class Measured:
    """The measurements of a run."""

    trained: TrainedRun
    what: str  # the split or the text
    exact: Loss
    sliding: Loss | None  # in windows that overlap by half; None for a task without windows
    others: list[Measure] = field(default_factory=list)
    losses: list[tuple[str, float]] | None = None  # of each token of a text, if requested

    @property
    def title(self) -> str:
        """One line that names the weights and the data."""
        trained = self.trained
        return f"{trained.config.stage}, {in_words(trained.which)} of {trained.run.path}, {self.what}"

    def table(self) -> str:
        """The measures, one per row."""
        from tabulate import tabulate

        over, rows = self.exact.over, self.exact.rows("exact loss")
        left_out = f"; {over.left_out:,} left out because the vocabulary lacks them" if over.left_out else ""
        rows += [("scored", over.counted, f"targets{left_out}")]
        if self.sliding is not None:
            rows += self.sliding.rows("in sliding windows")[:1]
        rows += [(measure.name, f"{measure.value:.{measure.digits}f}", measure.unit) for measure in self.others]
        table = tabulate(rows, ["measure", "value", "unit or signature"], disable_numparse=True)
        return "\n".join([table, *(f"{loss:.4f} {token!r}" for token, loss in self.losses or [])])

    def as_json(self, *, indent: int | None = 2) -> str:
        """The measures as JSON."""
        trained, over = self.trained, self.exact.over
        found: dict[str, Any] = {"run": str(trained.run.path), "stage": trained.config.stage, "weights": trained.which}
        found |= {"measured": self.what}
        found |= {unit.replace(" ", "_"): value for unit, value in self.exact.in_units().items()}
        found |= {"scored": over.count, "of": over.of, "left_out": over.left_out}
        if self.sliding is not None:
            ((_, _, unit), *_) = self.sliding.rows("")
            found["in_sliding_windows"] = {"value": self.sliding.nats, "signature": unit}
        for measure in self.others:
            found["_".join(re.findall(r"\w+", measure.name))] = {"value": measure.value, "signature": measure.unit}
        if self.losses is not None:
            found["losses"] = self.losses
        return json.dumps(found, indent=indent)


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
    over = task.over(split, corpus, trained.model)
    exact = exact_loss(trained.model, data, split, most=most, runtime=trained.runtime, over=over)
    others = task.scores(trained.model, corpus, split, config)
    size = tokens_per_pass(trained.runtime, trained.model)
    sliding = _in_context(trained, data.every_target_in_context(split, size, most), over)
    return Measured(trained, f"{split} split{_notice(trained)}", exact, sliding, others)


def _of_text(trained: TrainedRun, path: str, most: int | None, *, each: bool) -> Measured:
    """The text in a file, as a whole and, if `each`, by token."""
    task, size = trained.task, tokens_per_pass(trained.runtime, trained.model)
    text = read_text(Path(path), errors=task.undecodable)
    trained.warn_of_lines()
    known = task.known(text)
    corpus = TextCorpus("", known)
    of_text = {"split": f"text {path}", "left_out": len(text) - len(known)}
    over = task.over("val", corpus, trained.model).model_copy(update=of_text)
    targets = task.batches(trained.model, known, None, tokens_per_pass=size, most=most)
    sizes = trained.tokenizer.sizes_in(text)
    exact = loss_over(trained.model, targets, "loss of the text", trained.runtime, over, sizes=sizes)
    in_context = task.batches_in_context(trained.model, known, tokens_per_pass=size, most=most)
    losses = trained.losses(text) if each else None
    return Measured(
        trained, f"the text {path}{_notice(trained)}", exact, _in_context(trained, in_context, over), losses=losses
    )


def _notice(trained: TrainedRun) -> str:
    """A remark on a run whose first weights were trained on another text; else ""."""
    parent = trained.run.record().parent
    is_of_other = parent is not None and parent.is_of_other(trained.run.vocabulary().corpus)
    return f", {parent.notice}" if parent is not None and is_of_other else ""


def _in_context(trained: TrainedRun, targets: Targets | None, over: Over) -> Loss | None:
    """The loss in sliding windows; None for a task without windows."""
    if targets is None:
        return None
    sliding = over.model_copy(update={"sliding": True})
    return loss_over(trained.model, targets, "loss in sliding windows", trained.runtime, sliding)
