"""The space of a search, for Optuna: the values of each key."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from gpt.base.errors import RequestError
from gpt.cli.ranges import Range

_ITERATIONS = 60  # to find a ratio to the last bit
_DIGITS = 4  # of a drawn number: enough for any hyperparameter, and readable on a command line


def distribution(key: str, found: Range) -> BaseDistribution:
    """The distribution of a key's values. Raises RequestError for a range that Optuna refuses."""
    try:
        if found.values is not None:
            return CategoricalDistribution(found.values)
        if found.step is None:
            return FloatDistribution(found.low, found.high, log=found.is_log)
        return IntDistribution(int(found.low), int(found.high), step=found.step, log=found.is_log)
    except ValueError as error:
        raise RequestError(f"{key}: {' '.join(str(error).split())}") from None


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


def rounded(value: Any, where: BaseDistribution) -> Any:
    """A drawn value with fewer digits, still within its interval."""
    if not isinstance(where, FloatDistribution):
        return value
    return min(max(float(f"{value:.{_DIGITS}g}"), where.low), where.high)


def contains(where: BaseDistribution, value: Any) -> bool:
    """Whether a distribution can yield a value."""
    return bool(where._contains(where.to_internal_repr(value)))  # there is no other way to ask


def _at(where: BaseDistribution, place: float) -> Any:
    """The value at a place in [0, 1) of a distribution."""
    if isinstance(where, FloatDistribution):
        low, high = where.low, where.high
        return low * (high / low) ** place if where.log else low + place * (high - low)
    if isinstance(where, IntDistribution) and where.log:
        return min(int(where.low * ((where.high + 1) / where.low) ** place), where.high)
    values = _values(where)
    return values[int(place * len(values))]


def _values(where: BaseDistribution) -> Sequence[Any]:
    """All values of a finite distribution; empty for an interval."""
    if isinstance(where, CategoricalDistribution):
        return where.choices
    return range(where.low, where.high + 1, where.step) if isinstance(where, IntDistribution) else ()
