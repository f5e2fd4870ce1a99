"""Train two records in turn, seed by seed, and compare the seconds that count: those of training steps and of what
prepares them.

    python benchmarks/records.py 02_muon 01_start
    python benchmarks/records.py 02_muon 01_start --seeds 4,5,6

Names are files of conf/experiment/records/; docs/records.md has the rules. Seconds of two machines do not compare, so
the ratio is what a record is worth. Nothing else may run meanwhile.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness import QUICK_TRAINING, REPOSITORY, Measured, Row, output, parser, table, train_command
from tabulate import tabulate

_RECORDS = REPOSITORY / "conf" / "experiment" / "records"


def rows(new: str, old: str, seeds: list[int], *, quick: bool) -> tuple[Row, list[list[Any]]]:
    """The seconds of both, in pairs; and a line for each run: its record, seed, seconds and exact validation loss."""
    runs: list[list[Any]] = []
    measured = Measured([], [])
    for seed in seeds:
        for record, seconds in ((old, measured.theirs), (new, measured.ours)):
            summary = _trained(record, seed, quick=quick)
            seconds.append(summary["counted_seconds"])
            reached = "reached" if summary["exact"]["val"] <= summary["target"] else "missed"
            runs.append([record, seed, summary["counted_seconds"], f"{summary['exact']['val']:.4f}", reached])
            print(*runs[-1], file=sys.stderr)
    return Row(f"record {new}", "s", measured, old), runs


def _trained(record: str, seed: int, *, quick: bool) -> dict[str, Any]:
    changes = [*QUICK_TRAINING, "training.short_iters=2"] if quick else []
    with tempfile.TemporaryDirectory() as folder:
        place = ["hydra.run.dir=run", "resume=null"]
        output(train_command(f"experiment=records/{record}", f"seed={seed}", *place, *changes), Path(folder))
        return json.loads((Path(folder) / "run" / "summary.json").read_text())


if __name__ == "__main__":
    options = parser(__doc__)
    known = sorted(path.stem for path in _RECORDS.glob("*.yaml"))
    options.add_argument("new", choices=known, metavar="NEW", help=f"one of {', '.join(known)}")
    options.add_argument("old", choices=known, metavar="OLD", help="the one to compare it with")
    options.add_argument("--seeds", default="1,2,3", help="a run of each with every one of these (default 1,2,3)")
    given = options.parse_args()
    seeds = [1] if given.quick else [int(seed) for seed in given.seeds.split(",")]
    row, runs = rows(given.new, given.old, seeds, quick=given.quick)
    print(table([row]))
    print()
    print(tabulate(runs, ["record", "seed", "counted seconds", "exact val", "target"], tablefmt="github"))
