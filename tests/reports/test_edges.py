"""A best value at the edge of what was tried is said."""

from dataclasses import replace
from typing import Any

import pytest

from gpt.reports import edges
from gpt.reports.ranking import Group, Ranking
from gpt.reports.tables import table


def ranking(key: str, *values: Any) -> Ranking:
    """Groups that differ in one key, the best first."""
    groups = [Group({key: value}, [], 2.0 + i, None, None, 4.0, "") for i, value in enumerate(values)]
    return Ranking(
        "a text", [key], [], groups, unit="token", has_characters=True, is_tested=False, older=[], unfinished=[]
    )


@pytest.mark.parametrize(
    ("values", "beyond"),
    [
        ((1e-2, 1e-3, 1e-4), "larger"), ((1e-4, 1e-3, 1e-2), "smaller"), ((1e-3, 1e-4, 1e-2), None),
        ((1e-2, 1e-3), None), ((0.0, 0.1, 0.2), None), ((0.2, 0.1, 0.0), "larger"), ((1, None, 2, 3), "smaller"),
        ((None, 1, 2, 3), None), (("a", "b", "c"), None), ((True, False), None), (([1], [2], [3]), None),
    ],
)  # fmt: skip
def test_the_best_of_three_or_more_numbers_is_inside_or_at_the_edge(
    values: tuple[Any, ...], beyond: str | None
) -> None:
    said = edges.of_ranking(ranking("training.learning_rate", *values))
    best = f"The best learning_rate, {values[0]}, is at the edge of what was tried: {beyond} values may be better."
    assert said == ([best] if beyond else [])


def test_only_groups_that_are_like_the_best_otherwise_say_where_the_edge_is() -> None:
    """A longer run with the smallest rate is the best: it says nothing of the rates that shorter runs tried."""
    rate, length = "training.learning_rate", "training.max_iters"
    values = [{rate: 1e-3, length: 5000}, *({rate: x, length: 500} for x in (1.37e-2, 1e-3, 1e-2, 1e-1))]
    groups = [Group(each, [], 2.0 + i, None, None, 4.0, "") for i, each in enumerate(values)]
    found = Ranking("a text", [rate, length], [], groups, "token", True, False, [], [])
    assert edges.of_ranking(found) == []
    assert edges.of_ranking(replace(found, groups=groups[1:])) == []  # inside
    assert len(edges.of_ranking(replace(found, groups=[groups[4], *groups[1:4]]))) == 1


def test_it_stands_below_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt.reports.tables.edges.of_ranking", lambda _: ["at the edge"])
    assert table(
        Ranking("a text", [], [], [], unit="token", has_characters=True, is_tested=True, older=[], unfinished=[]),
        "exact",
        "simple",
    ).endswith("\n\nat the edge")


@pytest.mark.parametrize(
    ("best", "is_log", "beyond"),
    [(0.0101, False, "smaller"), (0.98, False, "larger"), (0.011, True, "smaller"), (0.5, False, None),
     (0.1, True, None), (0.05, False, "smaller"), (0.05, True, None)],
)  # fmt: skip
def test_a_drawn_number_near_the_end_of_its_interval_is_at_the_edge(
    best: float, is_log: bool, beyond: str | None
) -> None:
    said = edges.of_interval("learning_rate", best, 0.01, 1.0, is_log=is_log)
    assert len(said) == bool(beyond)
    assert beyond is None or f"{best:g}, is at the edge of what was tried: {beyond} values" in said[0]
