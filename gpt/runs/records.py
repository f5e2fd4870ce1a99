"""The records of a run folder: strictly typed and sealed with a checksum."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from gpt.choices import NonNegative
from gpt.config import Documented, StageName
from gpt.files import parsing, unseal
from gpt.runs.formats import check_format

FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
Loss = Annotated[float, Field(ge=0, le=1e100)]  # far beyond float32, and its square is still a number
Iterations = Annotated[int, Field(ge=0, lt=2**63)]


class Record(BaseModel):
    """A strict, immutable record."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Evaluation(Record):
    """The estimated losses after `iteration` updates, in nats per token: a line of metrics.jsonl."""

    iteration: Iterations
    train: FiniteFloat
    val: FiniteFloat
    learning_rates: dict[str, FiniteFloat]  # of each group of parameters
    tokens: Iterations | None = None  # targets trained on; a run of format 1 did not keep it


class Step(Record):
    """Update number `iteration`: a line of metrics.jsonl every `log_interval` updates."""

    iteration: Iterations
    loss: FiniteFloat | None  # of the training mini-batch, nats per token; None if NaN or Inf
    gradient_norm: FiniteFloat | None  # before clipping; None if NaN or Inf
    learning_rates: dict[str, FiniteFloat]  # of each group of parameters
    tokens: Iterations  # targets trained on


class Clock(Record):
    """The training time at a line of metrics.jsonl, without evaluations and checkpoints: a line of clock.jsonl."""

    iteration: Iterations
    seconds: NonNegative
    tokens_per_second: NonNegative  # the mean since the run began


class Command(Record):
    """A command line that started or resumed a run: a line of commands.jsonl."""

    iteration: Iterations  # where it started or resumed
    command: str
    started: AwareDatetime


class Parent(Record):
    """parent.json: the run whose weights a run started from."""

    run: str  # its folder, as given
    stage: StageName
    iterations: Iterations
    weights: str  # best, last or averaged
    sha256: str  # of the file of those weights

    @property
    def description(self) -> str:
        """The run and its weights, in words."""
        return f"the {self.weights} weights of {self.run} ({self.iterations} iterations, sha256 {self.sha256[:12]})"


class Segment(Record):
    """A part of a run before its settings were changed."""

    until: Iterations
    changed: list[str]  # hyperparameters of that part, as key=value, that differ from the documented ones


class Progress(BaseModel):
    """How far a run has come: the part of the training state that is not tensors."""

    model_config = ConfigDict(extra="forbid", strict=True)

    iteration: Iterations = 0  # updates done
    tokens: Iterations = 0  # targets trained on
    seconds: NonNegative = 0.0  # of training steps, without evaluations and checkpoints
    preparing_seconds: NonNegative = 0.0  # before the first step, of compiling and of reading the text once
    evaluations: list[Evaluation] = []
    steps: list[Step] = []
    clock: list[Clock] = []
    step_stride: Annotated[int, Field(ge=1)] = 1  # one of so many steps that are due for logging is kept
    best: Evaluation | None = None  # the evaluation whose weights are saved
    averaged: list[Iterations] = []  # iterations whose weights are in the average
    history: list[Segment] = []  # earlier parts that were trained with settings other than those in config.yaml

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        kinds: dict[str, Sequence[Evaluation | Step | Clock]] = {
            "evaluations": self.evaluations, "steps": self.steps, "clock": self.clock
        }  # fmt: skip
        for name, rows in kinds.items():
            if any(a >= b for a, b in itertools.pairwise([*(row.iteration for row in rows), self.iteration + 1])):
                raise ValueError(f"its {name} are not in order")
        if self.best is not None and self.best not in self.evaluations:
            raise ValueError("its best evaluation is not one of its evaluations")
        return self


class Vocabulary(Record):
    """tokenizer.json: what a tokenizer is built from."""

    vocabulary: Annotated[str | list[str], Field(min_length=1)]  # of characters, or of subwords
    merges: list[tuple[str, str]] | None = None  # of subwords
    corpus: str  # the digest of the corpus that it was built from
    files: dict[str, str] = {}  # the fingerprints of the corpus's files, by the loader's hyperparameter


class Estimated(Record):
    """Losses estimated over random batches."""

    train: Loss
    val: Loss


class Exact(Record):
    """The loss over every target of a split once."""

    val: Loss


class Best(Record):
    """The lowest estimated validation loss, and its iteration."""

    val: Loss
    iteration: Iterations


class Summary(Record):
    """summary.json: the results of a finished run. Losses in nats per token."""

    format: int = 1
    stage: StageName
    name: str | None = None
    tags: list[str] = []
    parent: Parent | None = None
    commands: list[Command] = []  # that started and resumed the run
    seed: int
    parameters: int
    iterations: int
    documented: Documented
    changed: list[str]  # hyperparameters, as key=value, that differ from the documented ones
    estimated: Estimated  # after the last iteration
    estimated_over: str  # in words, what it was estimated over
    best: Best
    exact: Exact
    target: NonNegative | None = None  # an exact validation loss to reach
    counted_seconds: NonNegative | None = None  # of training steps and of what prepares them, compiling included
    averaged: int  # how many evaluations' weights were averaged for the exact loss; 0: the last weights were used
    last_batch: float | None  # the loss on the last training mini-batch; None if NaN or Inf, or if there was none
    tokens_per_second: float  # of training steps, without evaluations and compilation
    seconds: float  # of the process that finished the run, from the start of its training on, evaluations included
    skipped: int  # updates skipped because of NaN or Inf
    device: str
    dtype: str
    versions: dict[str, str]
    git_commit: str | None
    finished: AwareDatetime


AnyRecord = TypeVar("AnyRecord", bound=BaseModel)


def parse_record(path: Path, content: str, record: type[AnyRecord]) -> AnyRecord:
    """The record sealed in `content`, read from `path`.

    Raises UserError if it has changed since, or is of a newer format.
    """
    with parsing(path):
        fields = unseal(content, path)
        check_format(fields.get("format", 1), path)
        return record.model_validate_json(json.dumps(fields))
