"""The records of a run folder: strictly typed and sealed with a checksum.

A new field needs a default, so that records of older runs stay readable.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AwareDatetime, Field

from gpt.base.choices import NonNegative
from gpt.base.files import parsing, read_text_file, unseal
from gpt.base.records import FiniteFloat, MetricName, Record, Total
from gpt.base.schema import Documented, Label, Saved, Seed, StageName
from gpt.data.vocabulary import LeftOut
from gpt.runs.formats import check_format
from gpt.training.progress import ExactLoss, Segment

Loss = Annotated[float, Field(ge=0, le=1e100)]  # far beyond float32, and its square is still a number


def now() -> datetime:
    """The local time to the second with its offset from UTC; in UTC if the system's offset is of a day or more."""
    try:
        time = datetime.now().astimezone()
    except ValueError:  # which datetime cannot express
        time = datetime.now(UTC)
    return time.replace(microsecond=0)


class Command(Record):
    """A command line that started or resumed a run: a line of commands.jsonl."""

    iteration: Total  # where it started or resumed
    command: str
    started: AwareDatetime


class Parent(Record):
    """parent.json: the run whose weights were the starting point."""

    run: str  # its folder, as given
    stage: StageName
    iterations: Total  # after which it had these weights
    weights: Saved
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # of the file of those weights

    @property
    def description(self) -> str:
        """The run and its weights, in words."""
        return f"the {self.weights} weights of {self.run} ({self.iterations} iterations, sha256 {self.sha256[:12]})"


class Estimated(Record):
    """Losses estimated over random batches."""

    train: Loss
    val: Loss


class Exact(Record):
    """The loss over every target of the validation split once, or over a sample of them."""

    val: Loss
    targets: Total | None = None  # that it is the mean over; None before format 7, and then all of the split
    of: Total | None = None  # targets of the split
    characters: Total | None = None  # of the text in those targets; None if it is not a text
    bytes: Total | None = None

    @property
    def loss(self) -> ExactLoss:
        """With its other units."""
        return ExactLoss(self.val, self.targets or 0, self.of or 0, self.characters, self.bytes)

    @property
    def comparable(self) -> float:
        """In nats per character of a text, whatever its tokens; per token of a translation."""
        per_character = self.loss.per_character
        return self.val if per_character is None else per_character


class Best(Record):
    """The lowest estimated validation loss, and its iteration."""

    val: Loss
    iteration: Total


class Summary(Record):
    """summary.json: the results of a finished run. Losses in nats per token."""

    format: Annotated[int, Field(ge=1, lt=2**31)] = 1
    stage: StageName
    name: Label | None = None
    tags: list[Label] = Field(default_factory=list)
    parent: Parent | None = None
    left_out: LeftOut | None = None  # of the corpus, because the vocabulary of the parent lacks it
    commands: list[Command] = Field(default_factory=list)  # that started and resumed the run
    seed: Seed
    parameters: Total
    iterations: Total
    documented: Documented
    changed: list[str]  # hyperparameters at the end, as key=value, that differ from the documented ones
    earlier: list[Segment] = Field(default_factory=list)  # parts of the run that were trained with other settings
    estimated: Estimated  # after the last iteration
    estimated_over: str  # in words, what it was estimated over
    metrics: dict[MetricName, FiniteFloat] = Field(default_factory=dict)  # estimated likewise, on the validation split
    best: Best
    exact: Exact
    target: NonNegative | None = None  # an exact validation loss to reach
    counted_seconds: NonNegative | None = None  # of training steps and of what prepares them, compiling included
    averaged: Total  # how many evaluations' weights were averaged for the exact loss; 0: the last weights were used
    last_batch: FiniteFloat | None  # the loss on the last training mini-batch; None if NaN or Inf, or if there was none
    flops: NonNegative | None = None  # floating-point operations of all training steps; None if they were not counted
    tokens_per_second: NonNegative  # of training steps, without evaluations and compilation
    seconds: NonNegative  # of the process that finished the run, since its training began, evaluations included
    skipped: Total  # updates skipped because of NaN or Inf
    device: Annotated[str, Field(max_length=200)]
    dtype: Literal["float32", "bfloat16"]
    versions: dict[str, str]
    git_commit: Annotated[str, Field(pattern=r"^[0-9a-f]+(-dirty)?$")] | None
    finished: AwareDatetime


AnyRecord = TypeVar("AnyRecord", bound=Record)
Fields = dict[str, Any]


def read_record(path: Path, record: type[AnyRecord], updated: Callable[[Fields], Fields] = dict) -> AnyRecord:
    """The record sealed in the file at `path`. Raises UserError as `read_text_file` and `parse_record` do."""
    return parse_record(path, read_text_file(path, largest=record.largest), record, updated)


def parse_record(
    path: Path, content: str, record: type[AnyRecord], updated: Callable[[Fields], Fields] = dict
) -> AnyRecord:
    """The record sealed in `content`, read from `path`; `updated` converts fields to the current format.

    Raises UserError if it was changed afterwards or has a newer format.
    """
    with parsing(path):
        fields = unseal(content, path)
        check_format(fields.get("format", 1), path)
        return record.model_validate_json(json.dumps(updated(fields)))
