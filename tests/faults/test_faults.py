"""The quick version of every fault; python tests/faults/soak.py is the long one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import scenarios


@pytest.mark.parametrize(
    ("scenario", "count"),
    [
        (scenarios.kills, 3),
        (scenarios.damage, 150),
        (scenarios.full_disk, 2),
        (scenarios.hostile, 100),
        (scenarios.bad_input, 12),
        (scenarios.sweep, 4),
        (scenarios.stops, 4),
    ],
)
def test_nothing_is_lost(scenario: Callable[[int, Path], scenarios.Outcome], count: int, tmp_path: Path) -> None:
    outcome = scenario(count, tmp_path)
    assert outcome.wrong == []
    assert outcome.times > 0
