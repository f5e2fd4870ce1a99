"""Every fault at full size, as the table of tests/faults/README.md.

python tests/faults/soak.py [SCENARIO ...]
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
from tests.faults import environments, every_call, folders, odd_values, preparing, results, scenarios, studies, values

FULL = {
    scenarios.kills: 100,
    scenarios.damage: 1000,
    scenarios.full_disk: 50,
    scenarios.hostile: 1000,
    scenarios.contents: 10_000,
    scenarios.bad_input: 500,
    scenarios.sweep: 20,
    scenarios.changed_sweeps: 20,
    scenarios.stops: 50,
    scenarios.joblib_stops: 20,
    folders.requests: 100,
    folders.links: 1000,
    folders.small_disk: 20,
    environments.environments: 100,
    odd_values.odd_values: 10_000,
    studies.studies: 1000,
    preparing.preparing: 30,
    values.values: 1000,
    values.sizes: 200,
    results.new_runs: 500,
    results.numbers: 100,
    every_call.every_call: 10_000,
    every_call.every_size: 1000,
}


def main() -> None:
    """Print the table; the exit code is 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(s.__name__ for s in FULL)}; default: all")
    wanted = parser.parse_args().scenario
    rows, failed = [], False
    for scenario, count in FULL.items():
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
    print(
        tabulate(rows, ["fault", "what is done, and what must hold", "trials", "failures", "time"], tablefmt="github")
    )
    sys.exit(failed)


if __name__ == "__main__":
    main()
