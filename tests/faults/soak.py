"""Every fault at full size, as the table of tests/faults/README.md: python tests/faults/soak.py [SCENARIO ...]."""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
from tests.faults import (
    environments,
    every_call,
    folders,
    odd_values,
    preparing,
    results,
    scenarios,
    strangers,
    studies,
)

Scenario = Callable[[int, Path], scenarios.Outcome]

# How often each fault is inflicted: by `pytest`, if at all, by `pytest -m slow` and here.
TIMES: dict[Scenario, tuple[int, int, int]] = {
    scenarios.interruptions: (2, 6, 150),
    scenarios.damage: (45, 150, 1000),
    scenarios.full_disk: (1, 2, 50),
    scenarios.sweep: (2, 4, 20),
    scenarios.changed_sweeps: (0, 2, 20),
    scenarios.joblib_stops: (0, 1, 20),
    strangers.hostile: (40, 1000, 1000),
    strangers.contents: (0, 400, 10_000),
    strangers.sizes: (0, 30, 200),
    folders.requests: (0, 20, 100),
    folders.moves: (0, 6, 200),
    folders.links: (0, 20, 1000),
    environments.environments: (2, 100, 100),
    odd_values.odd_values: (0, 400, 10_000),
    studies.studies: (12, 200, 1000),
    preparing.preparing: (0, 3, 30),
    results.new_runs: (0, 30, 500),
    results.numbers: (0, 5, 100),
    every_call.every_call: (0, 60, 10_000),
    every_call.every_size: (0, 6, 1000),
}
# A few runs are shorter in `pytest`.
QUICK = {
    scenarios.interruptions: partial(scenarios.interruptions, iterations=60, most=1),
    scenarios.full_disk: partial(scenarios.full_disk, iterations=60),
    scenarios.sweep: partial(scenarios.sweep, iterations=20, interruptions=1),
}


def main() -> None:
    """Print the table; the exit code is 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(s.__name__ for s in TIMES)}; default: all")
    wanted = parser.parse_args().scenario
    rows, failed = [], False
    for scenario, (_, _, count) in TIMES.items():
        if wanted and scenario.__name__ not in wanted:
            continue
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as name:
            outcome = scenario(count, Path(name))
        if outcome.missing:
            print(f"{scenario.__name__}: no trials: {outcome.missing}", file=sys.stderr)
        for line in outcome.wrong:
            print(f"{scenario.__name__}: {line}", file=sys.stderr)
        failed = failed or bool(outcome.wrong)
        what, seconds = " ".join((scenario.__doc__ or "").split()), time.perf_counter() - started
        rows.append([scenario.__name__, what, outcome.times, len(outcome.wrong), f"{seconds:.0f} s"])
    print(f"{time.strftime('%Y-%m-%d')}\n")
    headers = ["fault", "what is done, and what must hold", "trials", "failures", "time"]
    print(tabulate(rows, headers, tablefmt="github"))
    sys.exit(failed)


if __name__ == "__main__":
    main()
