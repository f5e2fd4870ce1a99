"""Best values at the edge of what was tried: the true best may lie beyond."""

import math
from typing import Any

from gpt.reports.ranking import Ranking, names

_FEWEST = 3  # values of which the best can be said to lie inside or at the edge
_NEAR = 0.05  # of the length of an interval


def of_ranking(ranking: Ranking) -> list[str]:
    """A sentence for each number that varies, if the best group has the smallest or the largest of those tried.

    They are those of groups that are as the best in all other keys: a longer run with another number says nothing.
    """
    found = []
    for key, name in names(ranking.keys).items():
        best = ranking.groups[0].values[key]
        like_the_best = [g for g in ranking.groups if _but(key, g.values) == _but(key, ranking.groups[0].values)]
        tried = sorted({group.values[key] for group in like_the_best if _is_number(group.values[key])})
        if len(tried) >= _FEWEST and best in (tried[0], tried[-1]):
            found += _sentence(name, best, "smaller" if best == tried[0] else "larger")
    return found


def of_interval(name: str, best: float, low: float, high: float, *, is_log: bool) -> list[str]:
    """The same for a number that was drawn from `low` to `high`."""
    a, x, b = (math.log(number) for number in (low, best, high)) if is_log else (low, best, high)
    if x - a <= _NEAR * (b - a):
        return _sentence(name, best, "smaller")
    return _sentence(name, best, "larger") if b - x <= _NEAR * (b - a) else []


def _sentence(name: str, best: float, beyond: str) -> list[str]:
    if best == 0 and beyond == "smaller":  # there is nothing below
        return []
    return [f"The best {name}, {best:g}, is at the edge of what was tried: {beyond} values may be better."]


def _but(key: str, values: dict[str, Any]) -> dict[str, Any]:
    return {other: value for other, value in values.items() if other != key}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
