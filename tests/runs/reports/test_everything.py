"""compare.py's files replace those of an earlier comparison and nothing else."""

import dataclasses
from pathlib import Path

import pytest

from gpt.base.errors import RequestError
from gpt.base.schema import CompareConfig
from gpt.runs.finding import finished_runs
from gpt.runs.reports.everything import Everything


@pytest.mark.parametrize("name", ["compare.csv", "compare.png", "compare_by_1.png", "compare_by_2.png"])
def test_a_picture_or_table_of_the_users_own_is_not_replaced(name: str, trained: Path, tmp_path: Path) -> None:
    values = {"runs": ".", "stage": None, "tags": [], "metric": "exact", "x": "iterations", "by": ["seed"], "out": None}
    config = CompareConfig.model_validate(values | {"tolerance": 0.1})
    everything = Everything.of(finished_runs(trained / "runs"), [], config)
    everything = dataclasses.replace(everything, ranked=[*everything.rankings, *everything.rankings])
    (tmp_path / name).write_text("precious")
    with pytest.raises(RequestError, match="is not from a comparison"):
        everything.write(tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]
