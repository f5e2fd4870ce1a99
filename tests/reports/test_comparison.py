"""compare.py's files: they replace those of an earlier comparison and nothing else, and show what was asked for."""

import dataclasses
import errno
from pathlib import Path

import pytest

from gpt.base.errors import RequestError
from gpt.reports import comparison
from gpt.reports.comparison import ComparisonReport
from gpt.runs.finding import finished_runs
from tests.conftest import Script, compare_config


@pytest.fixture
def report(trained: Path) -> ComparisonReport:
    config = compare_config(by=["seed"])
    report = ComparisonReport.of(finished_runs(trained / "runs"), [], config)
    return dataclasses.replace(report, ranked=[*report.rankings, *report.rankings])


@pytest.mark.parametrize("name", ["compare.csv", "compare.json", "compare_by_2.png"])
def test_a_picture_or_table_of_the_users_own_is_not_replaced(
    name: str, report: ComparisonReport, tmp_path: Path
) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(RequestError, match="is not from a comparison"):
        report.write(tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize("whole", [0, 1, 2])
def test_a_comparison_that_a_full_disk_cut_off_is_replaced(
    whole: int, report: ComparisonReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = dataclasses.replace(report, config=report.config.model_copy(update={"by": None}))

    def write(path: Path, content: str) -> None:
        if len(list(tmp_path.iterdir())) == whole:
            raise OSError(errno.ENOSPC, "No space left on device")
        path.write_text(content)

    with monkeypatch.context() as full:
        full.setattr(comparison, "write_atomically", write)
        with pytest.raises(OSError, match="No space"):
            report.write(tmp_path)
    assert len(report.write(tmp_path)) >= 3


def test_the_loss_is_drawn_against_a_key_of_the_corpus(called: Script, tmp_path: Path) -> None:
    """In one picture of all runs, although losses over different texts are in tables of their own."""
    swept = ["-m", "model=v1,v2", "data=recall", "data.distance=0,3", "data.size=100", "model.block_size=16"]
    short = ["training.max_iters=2", "training.eval_interval=2", "training.eval_iters=1", "hydra.sweep.dir=runs"]
    done = called("train.py", *swept, *short, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = called("compare.py", "by=distance", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "runs").glob("compare*.png")) == ["compare.png", "compare_by.png"]
    assert done.stdout.count("2 runs on recall, pairs=4, distance=") == 2
    done = called("compare.py", "by=learning_rate", cwd=tmp_path)
    assert "by=learning_rate does not vary between these runs; these keys do: stage" in done.stderr
