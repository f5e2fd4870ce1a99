"""Many signals of each kind at random moments of one run."""

from pathlib import Path

from tests.faults.test_stops import EXIT_CODES, check_stops


def test_a_run_that_is_stopped_twenty_times_ends_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    check_stops(3000, [*EXIT_CODES] * 5, tmp_path)
