"""Finding runs below a folder, whatever else is there."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpt.runs.finding import finished_runs, started_runs


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """The innermost of more folders, one in the other, than Python can call functions."""
    folders = [Path(tmp_path, "runs", *["a"] * depth) for depth in range(1501)]
    for folder in folders:
        folder.mkdir()
    yield folders[-1]
    for folder in reversed(folders):  # pytest would remove them recursively
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def test_a_run_is_found_however_deep_its_folder_is(trained: Path, deep: Path, tmp_path: Path) -> None:
    (source,) = (trained / "runs").glob("*/*")
    for name in ("config.yaml", "tokenizer.json", "summary.json", "metrics.jsonl"):
        (deep / name).write_bytes((source / name).read_bytes())
    assert [run.path for run, _ in finished_runs(tmp_path / "runs")] == [deep]
    assert [run.path for run in started_runs(tmp_path)] == [deep]
