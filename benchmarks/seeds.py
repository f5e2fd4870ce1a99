"""Eight seeds of a small stage: as one sweep on all cores, and one after the other.

python benchmarks/seeds.py
"""

import tempfile
from pathlib import Path

from harness import Row, alternate, arguments, table, train_command, wall_seconds

_SWEEP = ["-m", "model=v3", "seed=1,2,3,4,5,6,7,8", "device=cpu"]


def rows(repeats: int) -> list[Row]:
    """Seconds for all eight."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measured = alternate(
            repeats,
            lambda: wall_seconds(train_command(*_SWEEP, "hydra/launcher=joblib"), folder),
            lambda: wall_seconds(train_command(*_SWEEP), folder),
        )
        return [Row("eight seeds of v3 as a sweep", "s", measured, "one after the other")]


if __name__ == "__main__":
    print(table(rows(arguments(__doc__).repeats)))
