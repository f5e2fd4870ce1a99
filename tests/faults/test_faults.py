"""Every fault in a slow version, and most in a quick one; soak.py runs them at full size."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.soak import QUICK, TIMES, Scenario


def sizes() -> Iterator[Any]:
    for scenario, (quick, more, _) in TIMES.items():
        if quick:
            yield pytest.param(QUICK.get(scenario, scenario), quick, id=scenario.__name__)
        if more:
            yield pytest.param(scenario, more, id=f"more {scenario.__name__}", marks=pytest.mark.slow)


@pytest.mark.parametrize(("scenario", "times"), [*sizes()])
def test_nothing_is_lost(scenario: Scenario, times: int, tmp_path: Path) -> None:
    outcome = scenario(times, tmp_path)
    if outcome.missing:
        pytest.skip(outcome.missing)
    assert outcome.wrong == []
    assert outcome.times > 0
