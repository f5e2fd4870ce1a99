"""The length of a run in iterations, decided before it begins and recorded in its configuration."""

import math
import time
from dataclasses import replace

from torch import nn

from gpt.base.errors import RequestError
from gpt.base.runtime import random_numbers_kept
from gpt.training.loop import backward
from gpt.training.progress import Progress
from gpt.training.recipe import Recipe

_MEASURED_STEPS, _MEASURED_SECONDS = 3, 0.3  # at least


def with_length(recipe: Recipe, model: nn.Module, so_far: Progress | None = None) -> Recipe:
    """A recipe with the final length, the same on every rank; `so_far`: the progress of a resumed run.

    Raises RequestError for training.epochs= with data that has no epochs.
    """
    length = {"max_iters": _last_iteration(recipe, model, so_far or Progress())}
    return replace(recipe, settings=recipe.settings.model_copy(update=length))


def _last_iteration(recipe: Recipe, model: nn.Module, so_far: Progress) -> int:
    """The last iteration; with a budget of seconds, an estimate from a few steps, which the loop updates."""
    settings = recipe.settings
    if settings.budget is not None:
        left = settings.budget - so_far.seconds
        steps = 0 if left <= 0 else max(1, round(left / _seconds_of_step(model, recipe)))
        planned: int = recipe.world.broadcast(so_far.iteration + steps)
        return planned
    if settings.epochs is None:
        return settings.max_iters
    if (epoch := recipe.data.epoch_tokens) == math.inf:
        raise RequestError("training.epochs= is for data with epochs: give training.max_iters= instead")
    return math.ceil(settings.epochs * epoch / recipe.batch(0).tokens)


def _seconds_of_step(model: nn.Module, recipe: Recipe) -> float:
    """The time for the gradient of a batch, nearly all of a step's time; no weight changes."""
    gradient, batch = recipe.gradient(model), recipe.batch(0)
    with recipe.runtime.settings(), random_numbers_kept():  # keeps the later dropout masks
        steps, begun = -1, time.perf_counter()
        while steps < _MEASURED_STEPS or time.perf_counter() - begun < _MEASURED_SECONDS:
            if steps == 0:  # The first step, which prepares the others, does not count.
                begun = time.perf_counter()
            backward(model, batch, recipe, gradient).item()
            steps += 1
    seconds = (time.perf_counter() - begun) / steps
    model.zero_grad()
    return seconds
