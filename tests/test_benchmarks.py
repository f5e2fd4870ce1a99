"""The benchmarks measure pair by pair and leave the peer's code as it is but for its constants."""

import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "benchmarks"))
from harness import Measured, Row, alternate, with_constants


def test_ratios_are_taken_pair_by_pair() -> None:
    # The machine gets three times slower meanwhile; each pair still says: twice as fast.
    measured = Measured(ours=[1.0, 2.0, 3.0], theirs=[2.0, 4.0, 6.0])
    assert Row("work", "s", measured, "peer").cells() == [
        "work", "peer", "4.00 s (2.00 to 6.00)", "2.00 s (1.00 to 3.00)", "2.00 (2.00 to 2.00)",
    ]  # fmt: skip
    assert Row("work", "tokens/s", measured, "peer", more_is_better=True).cells()[-1] == "0.50 (0.50 to 0.50)"
    assert Row("work", "s", Measured([1.0], [])).cells() == ["work", "-", "-", "1.00 s (1.00 to 1.00)", "-"]


def test_sides_alternate_after_a_run_that_does_not_count() -> None:
    clock = count()
    measured = alternate(2, lambda: float(next(clock)), lambda: float(next(clock)))
    assert measured == Measured(theirs=[1.0, 3.0], ours=[2.0, 4.0])
    assert alternate(1, lambda: 1.0).theirs == []


def test_a_peers_constants_are_set_and_nothing_else(tmp_path: Path, shakespeare: Path) -> None:
    script = tmp_path / "peer.py"
    script.write_text("import sys\nmax_iters = 10 # many\nrate = 1e-3\n  max_iters = 3\n")
    folder = tmp_path / "changed"
    folder.mkdir()
    changed = with_constants(script, {"max_iters": 7}, folder)
    assert changed.read_text() == "import sys\nmax_iters = 7\nrate = 1e-3\n  max_iters = 3\n"
    assert (folder / "input.txt").stat().st_size == 1_115_394
    with pytest.raises(SystemExit, match="has no constant n_embd"):
        with_constants(script, {"n_embd": 7}, folder)


@pytest.mark.parametrize(
    "name", ["all", "generation", "memory", "seeds", "small_stages", "translation", "v7_training", "where_time_goes"]
)
def test_every_benchmark_starts(name: str) -> None:
    command = [sys.executable, str(REPOSITORY / "benchmarks" / f"{name}.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"python benchmarks/{name}.py" in done.stdout
