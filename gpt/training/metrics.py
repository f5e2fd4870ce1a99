"""Metrics: estimated beside the loss, over the same batches. Functions named by conf/metrics/*.yaml.

Runs can be ranked and searched by a metric whose function is annotated to return `Lower` or `Higher`: which is better.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated

from torch import Tensor, nn

from gpt.base.errors import RequestError
from gpt.data.batch import IGNORED, Batch
from gpt.registry import Choice, Registry
from gpt.training.state import Means

Metric = Callable[[nn.Module, Batch], Tensor]  # the mean over every target of a batch: a scalar
Lower = Annotated[Tensor, "lower"]  # a value for each target, (N,); a lower mean is better
Higher = Annotated[Tensor, "higher"]

_GIVEN = ("logits", "targets")
_TAKEN = ("loss", "learning_rate")  # names used by other columns of a run's records
METRIC = Registry(
    "metrics",
    "a metric",
    "gpt.training",
    "a function of logits and targets, in this order, and of its hyperparameters",
    lambda target: inspect.isfunction(target) and tuple(inspect.signature(target).parameters)[:2] == _GIVEN,
    _GIVEN,
)


def chosen_metrics(choices: Mapping[str, Choice]) -> dict[str, Metric]:
    """The metrics of a configuration by name. Raises RequestError for one that is not valid."""
    for name in _TAKEN:
        if name in choices:
            raise RequestError(f"metrics.{name}: this name is taken: rename the metric")
    kinds = {name: replace(METRIC, key=f"metrics.{name}") for name in choices}
    return {name: _mean(kinds[name].partial(choice)) for name, choice in choices.items()}


def is_higher_better(choices: Mapping[str, Choice], name: str) -> bool:
    """Whether a higher value of a metric of a configuration is better, rather than a lower one.

    Raises RequestError if the configuration lacks this metric, or if its function does not say which is better.
    """
    if name not in choices:
        chosen = f"; it has {', '.join(choices)}" if choices else ""
        raise RequestError(f"this configuration has no metric {name}, which metrics={name} adds{chosen}")
    returned = inspect.signature(METRIC.find(choices[name]), eval_str=True).return_annotation
    if returned not in (Lower, Higher):
        raise RequestError(f"the metric {name} does not say whether lower or higher is better: nothing is ranked by it")
    return bool(returned == Higher)


def means(metrics: Mapping[str, Metric], estimate: Callable[[Metric], tuple[float, float]]) -> dict[str, Means]:
    """Each metric on both splits; `estimate` gives the two means of a function of a model and a batch."""
    found = {name: estimate(metric) for name, metric in metrics.items()}
    return {name: Means(train=_finite(train), val=_finite(val)) for name, (train, val) in found.items()}


def entropy(logits: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG001
    """The entropy of each prediction, in nats. (N, V), (N,) -> (N,)."""
    log_probabilities = logits.log_softmax(-1)  # (N, V)
    return -(log_probabilities.exp() * log_probabilities).sum(-1)  # (N,)


def accuracy(logits: Tensor, targets: Tensor) -> Higher:
    """Whether each target is the most probable token. (N, V), (N,) -> (N,)."""
    return logits.argmax(-1) == targets  # (N,)


def _mean(of_targets: Callable[..., Tensor]) -> Metric:
    """The mean over a batch of a per-target function; padding is left out."""

    def mean(model: nn.Module, batch: Batch) -> Tensor:
        is_target = batch.targets != IGNORED  # (B, T)
        logits = model(*batch.inputs)[is_target].float()  # (N, V)
        return of_targets(logits, batch.targets[is_target]).float().mean()

    return mean


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
