"""The records of a run folder, strictly typed."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AwareDatetime, Field

from gpt.base.choices import NonNegative
from gpt.base.files import parsing, read_text_file
from gpt.base.records import FiniteFloat, MetricName, Record, Total
from gpt.base.schema import Documented, Label, Saved, Seed, StageName
from gpt.data.vocabulary import LeftOut
from gpt.runs.formats import from_json
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


class Labels(Record):
    """labels.json: what people call the run."""

    name: Label | None
    tags: list[Label]


class Seen(Record):
    """What of a split or a text a model was trained on: its loss there is not that of new text."""

    run: str  # the folder of the run that was trained on it
    what: str  # such as "validation split"
    count: Total
    of: Total
    unit: str

    def __str__(self) -> str:
        return f"{self.count:,} of {self.of:,} {self.unit}s of the {self.what} were in the training split of {self.run}"


class Parent(Record):
    """parent.json: the run whose weights were the starting point."""

    run: str  # its folder, as given
    stage: StageName
    iterations: Total  # after which it had these weights
    weights: Saved
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # of the file of those weights
    corpus: Annotated[str, Field(max_length=100)] | None = None  # the digest of what they were trained on
    seen: Seen | None = None  # what of the validation split this run, or one that it started from, was trained on

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
    targets: Total  # that it is the mean over
    of: Total  # targets of the split
    characters: Total | None = None  # of the text in those targets; None if unknown, or no text
    bytes: Total | None = None

    @property
    def loss(self) -> ExactLoss:
        """With its other units."""
        return ExactLoss(self.val, self.targets, self.of, self.characters, self.bytes)

    @property
    def comparable(self) -> float:
        """In nats per character of a text, whatever its tokens; per token of a translation and of other bytes."""
        per_character = self.loss.per_character
        return self.val if per_character is None else per_character


class Best(Record):
    """The lowest estimated validation loss, and its iteration."""

    val: Loss
    iteration: Total


class Summary(Record):
    """summary.json: the results of a finished run. Losses in nats per token."""

    stage: StageName
    name: Label | None
    tags: list[Label]
    parent: Parent | None
    left_out: LeftOut | None  # of the corpus, because the vocabulary of the parent lacks it
    commands: list[Command]  # that started and resumed the run
    seed: Seed
    parameters: Total
    iterations: Total
    documented: Documented
    changed: list[str]  # hyperparameters at the end, as key=value, that differ from the documented ones
    earlier: list[Segment]  # parts of the run that were trained with other settings
    estimated: Estimated  # after the last iteration
    estimated_over: str  # in words, what it was estimated over
    metrics: dict[MetricName, FiniteFloat]  # estimated likewise, on the validation split
    best: Best
    exact: Exact
    target: NonNegative | None  # an exact validation loss to reach
    counted_seconds: NonNegative | None  # of training steps and of what prepares them, compiling included
    averaged: Total  # how many evaluations' weights were averaged for the exact loss; 0: the last weights were used
    last_batch: FiniteFloat | None  # the loss on the last training mini-batch; None if NaN or Inf, or if there was none
    flops: NonNegative | None  # floating-point operations of all training steps; None if they were not counted
    tokens_per_second: NonNegative  # of training steps, without evaluations and compilation
    seconds: NonNegative  # of the process that finished the run, since its training began, evaluations included
    skipped: Total  # updates skipped because of NaN or Inf
    device: Annotated[str, Field(max_length=200)]
    dtype: Literal["float32", "bfloat16"]
    versions: dict[str, str]
    git_commit: Annotated[str, Field(pattern=r"^[0-9a-f]+(-dirty)?$")] | None
    finished: AwareDatetime

    @property
    def over(self) -> str:
        """What the exact loss is over, in words."""
        left_out = self.left_out.val if self.left_out else 0
        but = f", {left_out:,} of its characters left out" if left_out else ""
        return f"{self.exact.loss.which} of the validation split once{but}"

    @property
    def unjudged(self) -> str | None:
        """Why the exact loss says nothing about a target, which is for the whole of a new text; None if it does."""
        if self.exact.loss.is_sample:
            return f"by {self.exact.loss.which} (training.exact_tokens=null takes the whole split)"
        if self.left_out and self.left_out.val:
            return "by a part of the validation split"
        return "by text that it was trained on" if self.parent and self.parent.seen else None

    @property
    def reached(self) -> bool | None:
        """Whether the exact loss is at most the target; None if there is none, or it cannot be judged."""
        return None if self.target is None or self.unjudged else self.exact.val <= self.target


AnyRecord = TypeVar("AnyRecord", bound=Record)


def read_record(path: Path, record: type[AnyRecord]) -> AnyRecord:
    """The record in the file at `path`. Raises UserError as `read_text_file` and `from_json` do."""
    return parse_record(path, read_text_file(path, largest=record.largest), record)


def parse_record(path: Path, content: str, record: type[AnyRecord]) -> AnyRecord:
    """The record in `content`, read from `path`. Raises UserError as `from_json` does."""
    with parsing(path):
        return record.model_validate_json(json.dumps(from_json(content, path)))
