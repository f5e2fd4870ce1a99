"""Finding runs below a folder, whatever else is there."""

import subprocess
from pathlib import Path

from gpt.runs.finding import finished_runs, started_runs


def test_a_run_is_found_however_deep_its_folder_is(trained: Path, tmp_path: Path) -> None:
    """In more folders, one in the other, than Python can call functions."""
    deep = tmp_path / "runs" / "/".join("a" * 1500)
    subprocess.run(["mkdir", "-p", deep], check=True)
    (source,) = (trained / "runs").glob("*/*")
    for name in ("config.yaml", "tokenizer.json", "summary.json", "metrics.jsonl"):
        (deep / name).write_bytes((source / name).read_bytes())
    assert [run.path for run, _ in finished_runs(tmp_path / "runs")] == [deep]
    assert [run.path for run in started_runs(tmp_path)] == [deep]
    subprocess.run(["rm", "-r", tmp_path / "runs"], check=True)  # pytest would remove them recursively
