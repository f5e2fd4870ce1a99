"""Learning-rate schedules: functions named by conf/schedule/*.yaml.

A schedule gives the learning rate of an iteration, counted from 0, out of `max_iters`; `peak` is the learning rate of a
group of parameters. Each begins with a linear warm-up over `warmup_iters` iterations.
"""

import inspect
import logging
import math
from collections.abc import Callable
from typing import Any

from gpt.base.errors import RequestError
from gpt.config.choices import CountOrZero, Fraction
from gpt.registry import Choice, Registry

log = logging.getLogger(__name__)

Schedule = Callable[[int, int, float], float]  # (iteration, max_iters, peak) -> learning rate

_GIVEN = ("iteration", "max_iters", "peak")
_SMALL_FACTOR = 0.1
_CONTRACT = "a function of iteration, max_iters and peak, in this order, and of its hyperparameters"


def _takes_peak(function: Callable[..., Any]) -> bool:
    return tuple(inspect.signature(function).parameters)[:3] == _GIVEN


SCHEDULE = Registry(
    "schedule",
    "a schedule",
    "gpt.training",
    _CONTRACT,
    lambda target: inspect.isfunction(target) and _takes_peak(target),
    _GIVEN,
    adapt=lambda target: target if _takes_peak(target) else _of_step(target),
)


def _of_step(function: Callable[..., float]) -> Callable[..., float]:
    """A schedule from a function of the step, and of max_iters if it takes it, to a factor of the learning rate.

    Its other parameters are hyperparameters. Raises RequestError if it takes the peak: then it would be no factor.
    """
    step, *others = inspect.signature(function).parameters.values()
    name, takes_length = function.__name__, any(p.name == "max_iters" for p in others)
    if any(p.name == "peak" for p in others):
        raise RequestError(
            f"schedule={name} takes peak: a schedule is a factor, a function of {step.name} and max_iters"
        )

    def schedule(iteration: int, max_iters: int, peak: float, **values: Any) -> float:
        try:
            factor = float(function(iteration, **values, **({"max_iters": max_iters} if takes_length else {})))
        except Exception as error:
            said = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise RequestError(f"schedule={name} fails at step {iteration}: {said}") from error
        if not 0 <= factor < math.inf:
            raise RequestError(f"schedule={name} is {factor} at step {iteration}: it must be 0 or more")
        return peak * factor

    adapted: Any = schedule
    given = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in _GIVEN]
    adapted.__signature__ = inspect.Signature([*given, *(p for p in others if p.name != "max_iters")])
    return schedule


def check_rates(choice: Choice, schedule: Schedule, max_iters: int) -> None:
    """Call a schedule of the user's own for every iteration of a run: raises RequestError where it fails.

    Warns if its factor never comes near 1, because it may be a learning rate.
    """
    if choice.is_user_code:
        largest = max((schedule(iteration, max_iters, 1.0) for iteration in range(max_iters)), default=1.0)
        if largest < _SMALL_FACTOR:
            log.warning(
                f"the factor of schedule={choice.target.rpartition('.')[2]} is at most {largest:g}: it multiplies "
                "training.learning_rate, so a function that returns the rate itself must be divided by its peak"
            )


def check_warmup(choice: Choice, max_iters: int, *, is_estimate: bool = False) -> None:
    """Raise RequestError if the warm-up is longer than the run: it would never reach its learning rate.

    Where the number of iterations is an estimate, from a budget of seconds, warn instead.
    """
    warmup_iters = choice.hyperparameters.get("warmup_iters", 0)
    if warmup_iters <= max_iters:
        return
    if not is_estimate:
        raise RequestError(
            f"schedule.warmup_iters={warmup_iters} is longer than the run, which has training.max_iters={max_iters}"
        )
    log.warning(
        f"schedule.warmup_iters={warmup_iters} is longer than the run, of about {max_iters} iterations at this speed: "
        "its warm-up never reaches the learning rate"
    )


def depends_on_length(choice: Choice, max_iters: int) -> bool:
    """Whether a longer run would have other learning rates in its first `max_iters` iterations."""
    schedule, last = SCHEDULE.partial(choice), max(max_iters, 1)
    return any(schedule(i, last, 1.0) != schedule(i, 2 * last, 1.0) for i in range(last))


def constant(iteration: int, max_iters: int, peak: float, warmup_iters: CountOrZero) -> float:  # noqa: ARG001
    """The peak, after the warm-up."""
    return _warmup(iteration, peak, warmup_iters)


def cosine(iteration: int, max_iters: int, peak: float, warmup_iters: CountOrZero, final: Fraction) -> float:
    """Half a cosine from the peak to `final` times the peak.

    Source: "SGDR" (Loshchilov and Hutter, 2017), equation 5, without restarts.
    """
    if iteration < warmup_iters:
        return _warmup(iteration, peak, warmup_iters)
    return _between(final * peak, peak, (1 + math.cos(math.pi * _progress(iteration, max_iters, warmup_iters))) / 2)


def linear(iteration: int, max_iters: int, peak: float, warmup_iters: CountOrZero, final: Fraction) -> float:
    """A straight line from the peak to `final` times the peak."""
    if iteration < warmup_iters:
        return _warmup(iteration, peak, warmup_iters)
    return _between(final * peak, peak, 1 - _progress(iteration, max_iters, warmup_iters))


def inverse_sqrt(iteration: int, max_iters: int, peak: float, warmup_iters: CountOrZero) -> float:  # noqa: ARG001
    """peak * sqrt(warmup_iters / (iteration + 1)), after the warm-up.

    Source: "Attention Is All You Need" (Vaswani et al., 2017), section 5.3, parametrised by its peak instead of the
    model width.
    """
    if iteration < warmup_iters:
        return _warmup(iteration, peak, warmup_iters)
    return peak * math.sqrt(max(1, warmup_iters) / (iteration + 1))


def trapezoid(
    iteration: int, max_iters: int, peak: float, warmup_iters: CountOrZero, final: Fraction, cooldown: Fraction
) -> float:
    """The peak until the last fraction `cooldown` of the iterations, then a straight line to `final` times the peak.

    Source: "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations" (Haegele et al., 2024),
    section 3.
    """
    if iteration < warmup_iters:
        return _warmup(iteration, peak, warmup_iters)
    return _between(final * peak, peak, min(1.0, (1 - iteration / max_iters) / cooldown) if cooldown else 1.0)


def _warmup(iteration: int, peak: float, warmup_iters: int) -> float:
    return peak * (iteration + 1) / warmup_iters if iteration < warmup_iters else peak


def _progress(iteration: int, max_iters: int, warmup_iters: int) -> float:
    """The completed fraction of the iterations after the warm-up."""
    return (iteration - warmup_iters) / max(1, max_iters - warmup_iters)


def _between(low: float, high: float, share: float) -> float:
    return low + share * (high - low)
