"""Evaluations every so many seconds: converted to iterations once, before a run begins.

The iterations stand in the run's configuration. If a clock decided during the training, two runs of one seed would be
evaluated at different iterations, and could keep different weights.
"""

import logging
import math
import time

import torch
from torch import nn

from gpt.base.durations import seconds_of
from gpt.base.schema import TrainingConfig
from gpt.training.loop import backward
from gpt.training.recipe import Recipe

_MEASURED_STEPS, _MEASURED_SECONDS = 3, 0.3  # at least

log = logging.getLogger(__name__)


def paced(model: nn.Module, recipe: Recipe) -> TrainingConfig:
    """The settings of a recipe with `eval_interval` in iterations, if it is a duration; the same on every rank.

    Raises RequestError for a duration that is none.
    """
    settings, wanted = recipe.settings, recipe.settings.eval_interval
    if isinstance(wanted, int) or wanted == "epoch":
        return settings
    seconds = seconds_of(wanted, "training.eval_interval")
    interval = recipe.world.broadcast(min(_rounded(seconds / _seconds_of_step(model, recipe)), settings.max_iters))
    if recipe.world.is_first:
        log.info(f"training.eval_interval={wanted}: every {interval:,} iterations, at the speed of the first ones")
    return settings.model_copy(update={"eval_interval": interval})


def _seconds_of_step(model: nn.Module, recipe: Recipe) -> float:
    """The time that the gradient of a batch takes, which is nearly all of a step's; no weight changes."""
    gradient, batch = recipe.gradient(model), recipe.batch(0)
    devices = [recipe.runtime.device] if recipe.runtime.device.type == "cuda" else []
    with recipe.runtime.settings(), torch.random.fork_rng(devices):  # for dropout's masks to stay what they are
        steps, begun = -1, time.perf_counter()
        while steps < _MEASURED_STEPS or time.perf_counter() - begun < _MEASURED_SECONDS:
            if steps == 0:  # the first one, which prepares the others, does not count
                begun = time.perf_counter()
            backward(model, batch, recipe, gradient).item()
            steps += 1
    seconds = (time.perf_counter() - begun) / steps
    model.zero_grad()
    return seconds


def _rounded(iterations: float) -> int:
    """The nearest of 1, 2, 5, 10, 20, 50, ..."""
    power = 10 ** max(0, math.floor(math.log10(max(1.0, iterations))))
    return min((factor * power for factor in (1, 2, 5, 10)), key=lambda n: abs(math.log(n / max(1.0, iterations))))
