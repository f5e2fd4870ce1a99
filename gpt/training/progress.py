"""The progress of a training run: its evaluations, logged steps and clock. A checkpoint saves it as JSON."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from gpt.base.losses import Loss
from gpt.base.record import FiniteFloat, MetricName, Record, Total
from gpt.config.choices import NonNegative


class Means(Record):
    """The mean of a metric over the batches that the losses are estimated over; None if NaN or Inf."""

    train: FiniteFloat | None
    val: FiniteFloat | None


class Evaluation(Record):
    """The estimated losses after `iteration` updates."""

    iteration: Total
    train: Loss
    val: Loss
    learning_rates: dict[str, FiniteFloat]  # of each group of parameters
    tokens: Total  # targets trained on
    metrics: dict[MetricName, Means] = Field(default_factory=dict)  # by the names in the configuration
    sample: str | None = None  # a generated text, if one was due


class Step(Record):
    """A recorded update, number `iteration`."""

    iteration: Total
    loss: FiniteFloat | None  # of the training mini-batch, as it is trained; None if NaN or Inf
    gradient_norm: FiniteFloat | None  # before clipping; None if NaN or Inf
    learning_rates: dict[str, FiniteFloat]  # of each group of parameters
    tokens: Total  # targets trained on


class Clock(Record):
    """The training time at an evaluation or a recorded step, without evaluations and checkpoints."""

    iteration: Total
    seconds: NonNegative
    tokens_per_second: NonNegative  # the mean since the run began


class Progress(BaseModel):
    """The progress of a run: the part of the training state that is not tensors."""

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

    @property
    def best(self) -> Evaluation | None:
        """The evaluation whose weights are saved as the best; None if there is none."""
        return next((e for e in reversed(self.evaluations) if e.iteration == self.best_iteration), None)
