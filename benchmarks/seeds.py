"""Eight seeds of a small stage: as one sweep on all cores, and one after the other.

python benchmarks/seeds.py
"""

import tempfile
from pathlib import Path

from harness import QUICK_TRAINING, Row, alternate, arguments, table, train_command, wall_seconds

_SWEEP = ["-m", "model=v3", "device=cpu"]


def rows(repeats: int, *, quick: bool) -> list[Row]:
    """Seconds for all eight."""
    sweep = train_command(*_SWEEP, *(["seed=1,2", *QUICK_TRAINING] if quick else ["seed=1,2,3,4,5,6,7,8"]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measured = alternate(
            repeats,
            lambda: wall_seconds([*sweep, "hydra/launcher=joblib"], folder),
            lambda: wall_seconds(sweep, folder),
        )
        return [Row("eight seeds of v3 as a sweep", "s", measured, "one after the other")]


if __name__ == "__main__":
    given = arguments(__doc__)
    print(table(rows(given.repeats, quick=given.quick)))
