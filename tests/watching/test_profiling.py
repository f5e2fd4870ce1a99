"""The profile of a few steps."""

import gzip
import json
from pathlib import Path

import pytest

from gpt.data.text import TextData
from gpt.watching.profiling import Profile
from tests.conftest import empty_run
from tests.training.helpers import small_trainer, train_up


def test_a_profile_has_a_trace_and_the_costliest_operators(
    data: TextData, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture
) -> None:
    caplog.set_level("INFO")
    run = empty_run(tmp_path / "run")
    watcher = Profile(run, skip=2, steps=3)
    train_up(small_trainer("v5"), data, watchers=[watcher])
    watcher.close()
    assert all(str(run.path / name) in caplog.text for name in ("trace.json.gz", "operators.txt"))
    assert capfd.readouterr() == ("", "")
    trace = json.loads(gzip.decompress((run.path / "trace.json.gz").read_bytes()))
    names = [event.get("name") for event in trace["traceEvents"]]
    assert names.count("aten::embedding") == 3  # once a step
    lines = (run.path / "operators.txt").read_text().splitlines()
    rules = [number for number, line in enumerate(lines) if line.startswith("---")]
    assert rules[2] - rules[1] - 1 == 10
    assert any("aten::" in line for line in lines)


def test_a_run_too_short_for_a_profile_leaves_none(
    data: TextData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    early = Profile(empty_run(tmp_path / "early"), skip=2, steps=100)
    train_up(small_trainer("v1"), data, watchers=[early])
    early.close()
    assert [path.name for path in (tmp_path / "early").iterdir()] == ["run.json"]
    assert "102 iterations" in caplog.text
