"""debug=overfit, fast and profile, as a user runs them."""

import json
from pathlib import Path

import pytest

from tests.conftest import Script, refused, small_size, succeeded
from tests.extras import require_extra

SMALL = ["device=cpu", "training.eval_iters=1"]


def run_of(folder: Path) -> Path:
    (summary,) = (folder / "debug").rglob("summary.json")
    return summary.parent


def test_overfit_ends_when_one_batch_is_learned_or_fails(called: Script, corpus_file: Path, tmp_path: Path) -> None:
    given = ["debug=overfit", "data=text", f"data.path={corpus_file}", *SMALL]
    succeeded(called("train.py", "model=v5", *given, cwd=tmp_path))
    summary = json.loads((run_of(tmp_path) / "summary.json").read_text())
    assert summary["iterations"] < 1000
    assert "overfit=0.1" in summary["changed"]
    # A bigram table cannot learn which of two successors comes where.
    done = called("train.py", "model=v1", "training.max_iters=100", *given, cwd=tmp_path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert "100 iterations" in last
    assert last.endswith(" 0.1")
    refused(called("train.py", "model=transformer", "overfit=0.1", cwd=tmp_path), "training.eval_interval=50")


@pytest.mark.parametrize("stage", ["v8", "transformer"])
def test_fast_does_two_iterations_of_everything(stage: str, called: Script, corpus_file: Path, tmp_path: Path) -> None:
    given = [f"model.{name}={value}" for name, value in small_size(stage).items()]
    given += ["data=text", f"data.path={corpus_file}"]
    if stage == "transformer":
        require_extra("translate")
        given = ["model.n_embd=32", "model.n_hidden=32", "data=copy", "data.size=200"]
    succeeded(called("train.py", f"model={stage}", "debug=fast", *given, "device=cpu", cwd=tmp_path))
    rows = [json.loads(line) for line in (run_of(tmp_path) / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows if "val" in row] == [0, 1, 2]
    assert [row["iteration"] for row in rows if "gradient_norm" in row] == [1, 2]
    assert {path.name for path in (run_of(tmp_path) / "checkpoints").iterdir()} == {"00000001", "00000002"}


def test_profile_leaves_a_trace_and_a_table(called: Script, corpus_file: Path, tmp_path: Path) -> None:
    given = ["debug=profile", "logger=csv", "data=text", f"data.path={corpus_file}", *SMALL]
    succeeded(called("train.py", "model=v2", *given, cwd=tmp_path))
    assert {"trace.json.gz", "operators.txt", "metrics.csv"} <= {path.name for path in run_of(tmp_path).iterdir()}
