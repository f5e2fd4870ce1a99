"""The space of a search, for Optuna: the values of each key."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from gpt.base.errors import RequestError
from gpt.cli.ranges import Range

_DIGITS = 4  # of a drawn number: enough for any hyperparameter, and readable on a command line


def distributions(ranges: dict[str, Range]) -> dict[str, BaseDistribution]:
    """The distribution of each key's values. Raises RequestError for a range that Optuna refuses."""
    return {key: _distribution(key, found) for key, found in ranges.items()}


def combinations(space: dict[str, BaseDistribution]) -> Iterator[dict[str, Any]]:
    """All points of a finite space; none if it contains an interval."""
    return (dict(zip(space, values, strict=True)) for values in itertools.product(*map(_values, space.values())))


def rounded(value: Any, distribution: BaseDistribution) -> Any:
    """A drawn value with fewer digits, still within its interval."""
    if not isinstance(distribution, FloatDistribution):
        return value
    return min(max(float(f"{value:.{_DIGITS}g}"), distribution.low), distribution.high)


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a distribution can yield a value."""
    return bool(distribution._contains(distribution.to_internal_repr(value)))  # there is no other way to ask


def _distribution(key: str, found: Range) -> BaseDistribution:
    try:
        if found.values is not None:
            return CategoricalDistribution(found.values)
        if found.step is None:
            return FloatDistribution(found.low, found.high, log=found.is_log)
        return IntDistribution(int(found.low), int(found.high), step=found.step, log=found.is_log)
    except ValueError as error:
        raise RequestError(f"{key}: {' '.join(str(error).split())}") from None


def _values(distribution: BaseDistribution) -> Sequence[Any]:
    """All values of a finite distribution; empty for an interval."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)
    return ()
