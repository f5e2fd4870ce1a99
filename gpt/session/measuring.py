"""Evaluation of a trained run: its exact loss, the loss in sliding windows, and the scores of its task."""

import json
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from gpt.base.errors import RequestError
from gpt.base.schema import EvaluateConfig
from gpt.data.corpora import read_text
from gpt.session.trained import TrainedRun
from gpt.tasks.task import Measure
from gpt.training.evaluation import exact_loss, loss_in_context


@dataclass(frozen=True)
class Measured:
    """The measurements of a run."""

    trained: TrainedRun
    what: str  # the split or the text
    loss: float  # nats per token
    others: list[Measure] = field(default_factory=list)

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
        rows += [(measure.name, f"{measure.value:.{measure.digits}f}", measure.unit) for measure in self.others]
        return tabulate(rows, ["measure", "value", "unit or signature"], disable_numparse=True)

    def as_json(self) -> str:
        """The same as JSON."""
        trained, token = self.trained, self.trained.task.token
        named = {"run": str(trained.run.path), "stage": trained.config.stage, "weights": trained.which}
        losses = {"measured": self.what, f"nats_per_{token}": self.loss, f"bits_per_{token}": self.bits}
        others = {measure.name: {"value": measure.value, "signature": measure.unit} for measure in self.others}
        return json.dumps(named | losses | others, indent=2)


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
        return Measured(trained, f"the text {config.text}", trained.loss(read_text(Path(config.text))))
    split = task.split(config.split)
    corpus = trained.corpus(config.data, data_keys)
    data = task.data(corpus, trained.model, trained.device)
    loss = exact_loss(trained.model, data, split, runtime=trained.runtime)
    others = task.scores(trained.model, corpus, split, config)
    in_context = loss_in_context(trained.model, data, split, runtime=trained.runtime)
    if in_context is not None:
        unit = f"nats per {task.token}, each with at least half a window of context"
        others = [*others, Measure("in sliding windows", in_context, unit, digits=4)]
    return Measured(trained, f"{split} split", loss, others)
