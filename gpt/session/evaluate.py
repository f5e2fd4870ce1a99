"""Measure a trained run on held-out data: python evaluate.py. See python evaluate.py --help."""

import heapq
import json
import os
import re
import shlex
import sys
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from gpt.base.console import read_standard_input
from gpt.base.errors import RequestError, in_json, printable
from gpt.base.losses import Loss, LossScope, in_words
from gpt.base.paths import expanded, is_path
from gpt.base.runtime import keep_freed_memory
from gpt.config.command import Command
from gpt.config.command_schemas import EvaluateConfig
from gpt.data.batch import Batch, Targets
from gpt.data.records import read_text
from gpt.data.tables import is_table
from gpt.data.tokenizer import TextTokenizer
from gpt.session.trained import TrainedRun, load_run
from gpt.tasks.continuation import Continuation
from gpt.tasks.task import Measure
from gpt.training.evaluation import exact_loss, loss_over, tokens_per_pass
from gpt.training.objectives import BatchLoss, batch_loss, target_losses

_MOST = 10  # surprising tokens
_LONGEST = 40  # characters of a context, and of a text as a name


def main(config: EvaluateConfig, command: Command) -> None:
    """Print the exact loss and, for a run that translates, the scores of its translations."""
    try:
        trained = load_run(
            config.run, runs=config.runs, stage=config.stage, weights=config.weights, device=config.device
        )
    except RequestError as error:
        if config.run is None or config.text is not None or is_path(config.run):
            raise
        raise RequestError(f"{error}; text={shlex.quote(config.run)} measures that text") from None
    keep_freed_memory(trained.device)
    with trained.runtime.settings():
        found = measured(trained, config, command.given)
    if config.as_json:
        print(found.as_json(indent=2))
        return
    print(printable(found.title), file=sys.stderr)
    print(found.table())


@dataclass(frozen=True)
class Measured:
    """The measurements of a run."""

    trained: TrainedRun
    what: str  # the split or the text
    exact: Loss
    sliding: Loss | None  # in windows that overlap by half; None for a task without windows
    others: list[Measure] = field(default_factory=list)
    surprising: list[tuple[str, float, str]] = field(default_factory=list)  # of a text: token, loss, context

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
        if self.surprising:
            rows += [
                ("in the sample" if over.is_sample else "in all", f"{self.exact.nats * (over.count or 0):.2f}", "nats")
            ]
        rows += [("scored", over.counted, f"targets{left_out}")]
        if self.sliding is not None:
            rows += self.sliding.rows("in sliding windows")[:1]
        rows += [(measure.name, f"{measure.value:.{measure.digits}f}", measure.unit) for measure in self.others]
        table = tabulate(rows, ["measure", "value", "unit or signature"], disable_numparse=True)
        most = [f"{loss:.4f} {in_json(token)} after {in_json(context)}" for token, loss, context in self.surprising]
        title = [f"\nmost surprising {over.token}s, in sliding windows:"] if most else []
        return "\n".join([table, *title, *most])

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
        if self.surprising:
            found["nats_in_sample" if over.is_sample else "nats_in_all"] = self.exact.nats * (over.count or 0)
            found["most_surprising"] = self.surprising
        return json.dumps(found, indent=indent)


def measured(trained: TrainedRun, config: EvaluateConfig, given: Collection[str] = ()) -> Measured:
    """Measure a run on a split of its corpus or on the text `config.text`.

    `given` are the keys on the command line. Raises RequestError for a key of another task or a split that the corpus
    lacks, UserError if the corpus is missing or has changed.
    """
    task, most = trained.task, config.exact_tokens
    task.refuse_others(given)
    data_keys = [key for key in given if key.startswith("data.")]
    if config.text is not None:
        if more := [key for key in given if key in ("split", *data_keys)]:
            raise RequestError(f"text= is measured alone: omit {more[0]}=")
        return _of_text(trained, config.text, most)
    corpus = trained.corpus(config.data.model_dump(), data_keys)
    split = task.split(config.split, corpus)
    data = task.data(corpus, trained.model, trained.device)
    over = task.over(split, corpus, trained.model)
    exact = exact_loss(trained.model, data, split, most=most, runtime=trained.runtime, over=over)
    others = task.scores(trained.model, corpus, split, config)
    size = tokens_per_pass(trained.runtime, trained.model)
    sliding = _in_context(trained, data.every_target_in_context(split, size, most), over)
    return Measured(trained, f"{split} split{_notice(trained)}", exact, sliding, others)


def _read(typed: str, errors: str) -> tuple[str, str]:
    """A text and its name, from what was typed: a file, - for standard input, or the text itself.

    Raises RequestError for a word with an ending or a slash that is no file.
    """
    if typed == "-":
        return read_standard_input("the text"), "text of standard input"
    if os.path.lexists(expanded(typed)) or re.fullmatch(r"\S*(/\S*|\.\w+)", typed):
        if is_table(path := Path(expanded(typed))):
            raise RequestError(f"text={typed} is a table: write the texts of a column to a file, and measure that")
        return read_text(path, errors=errors), f"text {typed}"
    return typed, f"text {in_json(typed if len(typed) < _LONGEST else f'{typed[:_LONGEST]}...')}"


def _of_text(trained: TrainedRun, typed: str, most: int | None) -> Measured:
    """A text as a whole, and its most surprising tokens."""
    task, size = Continuation.required(trained.task, "text="), tokens_per_pass(trained.runtime, trained.model)
    text, name = _read(typed, task.decode_errors)
    known = task.known(text)
    exact = trained.loss_of(known, name=name, most=most)
    over = exact.over.model_copy(update={"left_out": len(text) - len(known)})
    exact = exact.model_copy(update={"over": over})
    surprising, windows = _Surprising(task.tokenizer), task.windows(trained.model, known, size, most)
    sliding = _in_context(trained, windows.sliding(), over, surprising)
    return Measured(trained, f"the {name}{_notice(trained)}", exact, sliding, surprising=surprising.found)


class _Surprising:
    """The loss of a batch; it keeps the targets with the highest losses, and what was read before each."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer, self.found = tokenizer, list[tuple[str, float, str]]()

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        losses, T = target_losses(model, batch), batch.targets.shape[1]
        for loss, place in zip(*(x.tolist() for x in losses.topk(min(_MOST, batch.tokens))), strict=True):
            row, t = divmod(place, T)
            context = self._tokenizer.decode(batch.inputs[0][row, : t + 1].tolist())
            token = self._tokenizer.shown[int(batch.targets[row, t])]
            self.found.append((token, loss, context[-_LONGEST:]))
        self.found = heapq.nlargest(_MOST, self.found, key=lambda each: each[1])
        return losses.sum() / batch.tokens


def _notice(trained: TrainedRun) -> str:
    """A remark on a run whose first weights were trained on another text; else ""."""
    parent = trained.run.record().parent
    return "".join(f", {notice}" for notice in (parent.notices(trained.run.vocabulary().corpus) if parent else ()))


def _in_context(
    trained: TrainedRun, targets: Targets | None, over: LossScope, loss: BatchLoss = batch_loss
) -> Loss | None:
    """The loss in sliding windows; None for a task without windows."""
    if targets is None:
        return None
    sliding = over.model_copy(update={"sliding": True})
    return loss_over(trained.model, targets, "loss in sliding windows", trained.runtime, sliding, loss=loss)
