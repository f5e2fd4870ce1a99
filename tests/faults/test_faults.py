"""Every fault in a slow version, and most in a quick one; tests/faults/soak.py runs them at full size."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.faults import environments, every_call, folders, odd_values, preparing, results, scenarios, studies, values

QUICK = {
    "kills": partial(scenarios.kills, 1, iterations=60, most=1),
    "damage": partial(scenarios.damage, 45),
    "full_disk": partial(scenarios.full_disk, 1, iterations=60),
    "hostile": partial(scenarios.hostile, 1000),
    "bad_input": partial(scenarios.bad_input, 8),
    "sweep": partial(scenarios.sweep, 2, iterations=20, interruptions=1),
    "stops": partial(scenarios.stops, 1, iterations=60),
    "requests": partial(folders.requests, 6),
    "studies": partial(studies.studies, 12),
}
LONGER = {
    "kills": partial(scenarios.kills, 3),
    "damage": partial(scenarios.damage, 150),
    "full_disk": partial(scenarios.full_disk, 2),
    "contents": partial(scenarios.contents, 1000),
    "bad_input": partial(scenarios.bad_input, 80),
    "sweep": partial(scenarios.sweep, 4),
    "stops": partial(scenarios.stops, 4),
    "joblib_stops": partial(scenarios.joblib_stops, 2),
    "requests": partial(folders.requests, 30),
    "links": partial(folders.links, 30),
    "small_disk": partial(folders.small_disk, 3),
    "changed_sweeps": partial(scenarios.changed_sweeps, 4),
    "environments": partial(environments.environments, 100),
    "odd_values": partial(odd_values.odd_values, 400),
    "every_call": partial(every_call.every_call, 60),
    "studies": partial(studies.studies, 200),
    "values": partial(values.values, 200),
    "sizes": partial(values.sizes, 30),
    "new_runs": partial(results.new_runs, 60),
    "numbers": partial(results.numbers, 10),
    "preparing": partial(preparing.preparing, 3),
    "every_size": partial(every_call.every_size, 10),
}


@pytest.mark.parametrize(
    "scenario",
    [
        *(pytest.param(scenario, id=name) for name, scenario in QUICK.items()),
        *(pytest.param(scenario, id=f"more {name}", marks=pytest.mark.slow) for name, scenario in LONGER.items()),
    ],
)
def test_nothing_is_lost(scenario: Callable[[Path], scenarios.Outcome], tmp_path: Path) -> None:
    outcome = scenario(tmp_path)
    if outcome.missing:
        pytest.skip(outcome.missing)
    assert outcome.wrong == []
    assert outcome.times > 0
