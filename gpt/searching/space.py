"""The space of a search, for Optuna: the values of each key."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from gpt.base.errors import RequestError
from gpt.cli.ranges import Range

_ITERATIONS = 60  # to find a ratio to the last bit
_DIGITS = 4  # of a drawn number: enough for any hyperparameter, and readable on a command line


def distributions(ranges: dict[str, Range]) -> dict[str, BaseDistribution]:
    """The distribution of each key's values. Raises RequestError for a range that Optuna refuses."""
    return {key: _distribution(key, found) for key, found in ranges.items()}


def combinations(space: dict[str, BaseDistribution]) -> Iterator[dict[str, Any]]:
    """All points of a finite space; none if it contains an interval."""
    return (dict(zip(space, values, strict=True)) for values in itertools.product(*map(_values, space.values())))


def spread(space: dict[str, BaseDistribution], number: int, offsets: Sequence[float]) -> dict[str, Any]:
    """Point `number` of a sequence whose first points, however few, cover the space evenly.

    It is an additive recurrence with the powers of a generalised golden ratio; `offsets` in [0, 1), one for each key,
    choose one of such sequences ("The Unreasonable Effectiveness of Quasirandom Sequences", Roberts, 2018).
    """
    ratio = 2.0
    for _ in range(_ITERATIONS):
        ratio = (1 + ratio) ** (1 / (len(space) + 1))
    places = [(offset + number * ratio ** -(i + 1)) % 1 for i, offset in enumerate(offsets)]
    return {key: _at(where, place) for (key, where), place in zip(space.items(), places, strict=True)}


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


def _at(distribution: BaseDistribution, place: float) -> Any:
    """The value at a place in [0, 1) of a distribution."""
    if isinstance(distribution, FloatDistribution):
        low, high = distribution.low, distribution.high
        return low * (high / low) ** place if distribution.log else low + place * (high - low)
    if isinstance(distribution, IntDistribution) and distribution.log:
        low, high = distribution.low, distribution.high + 1
        return min(int(low * (high / low) ** place), distribution.high)
    values = _values(distribution)
    return values[int(place * len(values))]


def _values(distribution: BaseDistribution) -> Sequence[Any]:
    """All values of a finite distribution; empty for an interval."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)
    return ()
