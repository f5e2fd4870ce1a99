"""The records of a run folder, strictly typed."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AwareDatetime, Field

from gpt.base.errors import Ending
from gpt.base.files import damaged_as_user_error, read_text_file
from gpt.base.losses import Loss
from gpt.base.record import FiniteFloat, MetricName, Record, Total
from gpt.config.choices import NonNegative
from gpt.config.schema import Documented, Label, Saved, Seed, StageName
from gpt.data.vocabulary import LeftOut
from gpt.runs.formats import from_json

LOSSES = ("exact", "val", "train", "best")  # the losses that runs can be ranked by
Metric = MetricName  # one of them, or a metric of the configuration


def now() -> datetime:
    """The local time to the second, with its offset from UTC."""
    return datetime.now().astimezone().replace(microsecond=0)


class RecordedCommand(Record):
    """A command line that started or resumed a run."""

    iteration: Total  # where it started or resumed
    command: str
    started: AwareDatetime


class Parent(Record):
    """The run whose weights were the starting point."""

    run: str  # its folder, as given
    stage: StageName
    iterations: Total  # updates behind these weights
    weights: Saved
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # of their file
    corpus: Annotated[str, Field(max_length=100)] | None = None  # the digest of their corpus

    @property
    def folder(self) -> Path:
        """Where the run was when its weights were taken."""
        return Path(self.run)

    @property
    def description(self) -> str:
        """The run and its weights, in words."""
        return f"the {self.weights} weights of {self.run} ({self.iterations} iterations, sha256 {self.sha256[:12]})"

    def notices(self, corpus: str) -> list[str]:
        """The remark beside the run's loss if the weights were trained on another text than its own, by its digest."""
        is_of_other = self.corpus is not None and not self.corpus.startswith(corpus)
        return [f"from {self.folder.name or self.stage}, trained on another text"] if is_of_other else []


class RunRecord(Record):
    """run.json: the facts about a run that may change, unlike its configuration and results."""

    ending: Literal["starting"] | Ending | None  # why it is not training; None if it trains, has finished or was killed
    name: Label | None = None
    tags: list[Label] = Field(default_factory=list)
    parent: Parent | None = None
    commands: list[RecordedCommand] = Field(default_factory=list)  # the start, then each resumption
    tracker: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")] | None = None  # its id for trackers


class Estimated(Record):
    """The losses estimated after the last iteration."""

    train: Loss
    val: Loss


class Summary(Record):
    """summary.json: the results of a finished run."""

    stage: StageName
    name: Label | None
    tags: list[Label]
    parent: Parent | None
    left_out: LeftOut | None  # characters that the vocabulary of the parent lacks
    commands: list[RecordedCommand]  # the start, then each resumption
    seed: Seed
    parameters: Total
    iterations: Total
    documented: Documented
    changed: list[str]  # settings, as key=value, that differ from the documented ones
    estimated: Estimated
    metrics: dict[MetricName, FiniteFloat]  # estimated on the validation split
    best: Loss  # the lowest estimated validation loss
    exact: Loss  # over every target of the validation split, or over a sample of them
    target: NonNegative | None  # an exact validation loss to reach, in the unit in which it is compared
    counted_seconds: NonNegative | None  # of training steps and their preparation, compilation included
    last_batch: Loss | None  # the loss on the last training mini-batch; None if NaN or Inf, or if there was none
    flops: NonNegative | None  # floating-point operations of all training steps; None if they were not counted
    tokens_per_second: NonNegative  # of training steps, without evaluations and compilation
    seconds: NonNegative  # from the start of training in the last process to its end, evaluations included
    skipped: Total  # updates skipped because of NaN or Inf
    device: Annotated[str, Field(max_length=200)]
    dtype: Literal["float32", "bfloat16"]
    versions: dict[str, str]
    git_commit: Annotated[str, Field(pattern=r"^[0-9a-f]+(-dirty)?$")] | None
    finished: AwareDatetime

    def loss(self, metric: Metric) -> Loss:
        """The loss to rank the run by, or the one over whose batches a metric is estimated."""
        if metric == "exact":
            return self.exact
        return self.best if metric == "best" else self.estimated.train if metric == "train" else self.estimated.val

    @property
    def reached(self) -> bool | None:
        """Whether the exact loss is at most the target; None if there is none, or it cannot be judged."""
        return None if self.target is None or self.exact.objection else self.exact.common <= self.target

    @property
    def changes(self) -> list[str]:
        """What differs from the documented run; empty for a documented run."""
        left_out = [] if self.left_out is None else [f"{self.left_out} left out"]
        return [*self.changed, *left_out, *(self.parent.notices(self.exact.over.corpus) if self.parent else ())]


AnyRecord = TypeVar("AnyRecord", bound=Record)


def read_record(path: Path, record: type[AnyRecord]) -> AnyRecord:
    """The record in the file at `path`. Raises UserError if it is missing or damaged, or has another format."""
    with damaged_as_user_error(path):
        return record.model_validate_json(json.dumps(from_json(read_text_file(path), path)))
