"""The state of a training run apart from its tensors. A checkpoint saves it as JSON."""

from collections.abc import Mapping
from operator import attrgetter
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from gpt.base.record import FiniteFloat, MetricName, Record, Total
from gpt.config.choices import NonNegative


class Means(Record):
    """The mean of a metric over the batches that the losses are estimated over; None if NaN or Inf."""

    train: FiniteFloat | None
    val: FiniteFloat | None


class Evaluation(Record):
    """The estimated losses after `iteration` updates, in nats per token."""

    iteration: Total
    train: FiniteFloat
    val: FiniteFloat
    learning_rates: dict[str, FiniteFloat]  # of each group of parameters
    tokens: Total  # targets trained on
    metrics: dict[MetricName, Means] = Field(default_factory=dict)  # by the names in the configuration
    sample: str | None = None  # a generated text, if one was due

    def row(self) -> dict[str, Any]:
        """The evaluation as a flat row of a table."""
        rates = _named("learning_rate", self.learning_rates)
        metrics = {f"{name}_{split}": value for name, means in self.metrics.items() for split, value in means}
        sample = {} if self.sample is None else {"sample": self.sample}
        own = {"iteration": self.iteration, "train": self.train, "val": self.val, "tokens": self.tokens}
        return own | rates | metrics | sample

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Self:
        """The evaluation in a row. Raises ValidationError or KeyError if it is none."""
        fields = {name: value for name, value in row.items() if name in cls.model_fields}
        found = (name.removesuffix("_val") for name in row if name.endswith("_val"))
        metrics = {name: {"train": row[f"{name}_train"], "val": row[f"{name}_val"]} for name in found}
        return cls.model_validate(fields | {"learning_rates": _rates(row), "metrics": metrics})


class Step(Record):
    """A recorded update, number `iteration`."""

    iteration: Total
    loss: FiniteFloat | None  # of the training mini-batch, as it is trained; None if NaN or Inf
    gradient_norm: FiniteFloat | None  # before clipping; None if NaN or Inf
    learning_rates: dict[str, FiniteFloat]  # of each group of parameters
    tokens: Total  # targets trained on

    def row(self) -> dict[str, Any]:
        """The update as a flat row of a table."""
        own = {"iteration": self.iteration, "batch": self.loss, "gradient_norm": self.gradient_norm}
        return own | {"tokens": self.tokens} | _named("learning_rate", self.learning_rates)

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Self:
        """The update in a row. Raises ValidationError or KeyError if it is none."""
        own = {name: row[name] for name in ("iteration", "gradient_norm", "tokens")}
        return cls.model_validate(own | {"loss": row["batch"], "learning_rates": _rates(row)})


class Clock(Record):
    """The training time at an evaluation or a recorded step, without evaluations and checkpoints."""

    iteration: Total
    seconds: NonNegative
    tokens_per_second: NonNegative  # the mean since the run began

    def row(self) -> dict[str, Any]:
        """The time as part of a row."""
        return {"seconds": round(self.seconds, 3), "tokens_per_second": round(self.tokens_per_second)}


def _named(name: str, values: dict[str, float]) -> dict[str, float]:
    """Values of groups of parameters in a row; with one group, its name is left out."""
    return {name if len(values) == 1 else f"{name}_{group}": value for group, value in values.items()}


def _rates(row: Mapping[str, Any]) -> dict[str, Any]:
    rates = {key.removeprefix("learning_rate"): value for key, value in row.items() if key.startswith("learning_rate")}
    return {group.removeprefix("_") or "all": value for group, value in rates.items()}


class State(BaseModel):
    """How far a run is: its evaluations, recorded steps and clock."""

    model_config = ConfigDict(extra="forbid", strict=True)

    iteration: Total = 0  # updates done
    tokens: Total = 0  # targets trained on
    seconds: NonNegative = 0.0  # of training steps, without evaluations and checkpoints
    planned: Total | None = None  # the last iteration, planned from the clock, with a budget of seconds
    preparing_seconds: NonNegative = 0.0  # before the first step, for compiling and reading the text
    evaluations: list[Evaluation] = []
    steps: list[Step] = []
    clock: list[Clock] = []
    step_stride: Annotated[int, Field(ge=1, lt=2**63)] = 1  # every `step_stride`-th of the steps due is recorded
    best_iteration: Total | None = None  # of the evaluation whose weights are saved
    averaged: list[Total] = []  # iterations whose weights are in the average

    def rows(self, since: int = 0) -> list[dict[str, Any]]:
        """The recorded steps and evaluations from iteration `since` on as flat rows, with the time of each.

        If an iteration has both, the step comes first.
        """
        times = {each.iteration: each.row() for each in self.clock if each.iteration >= since}
        records: list[Step | Evaluation] = [*self.steps, *self.evaluations]
        due = sorted((each for each in records if each.iteration >= since), key=attrgetter("iteration"))
        return [each.row() | times.get(each.iteration, {}) for each in due]

    @property
    def best(self) -> Evaluation | None:
        """The evaluation whose weights are saved as the best; None if there is none."""
        return next((e for e in reversed(self.evaluations) if e.iteration == self.best_iteration), None)

    @property
    def is_evaluated(self) -> bool:
        """Whether the current weights have been evaluated."""
        return bool(self.evaluations) and self.evaluations[-1].iteration == self.iteration
