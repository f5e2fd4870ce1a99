"""debug=overfit, fast and profile, as a user runs them."""

import json
from pathlib import Path

import pytest

from tests.conftest import Script

SMALL = ["device=cpu", "training.eval_iters=1"]


def run_of(folder: Path) -> Path:
    (summary,) = (folder / "debug").rglob("summary.json")
    return summary.parent


def summary_of(folder: Path) -> dict:
    return json.loads((run_of(folder) / "summary.json").read_text())


def test_overfit_ends_when_the_loss_on_one_batch_is_below_a_tenth(
    called: Script, corpus_file: Path, tmp_path: Path
) -> None:
    done = called(
        "train.py", "model=v5", "debug=overfit", "data=text", f"data.path={corpus_file}", *SMALL, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    summary = summary_of(tmp_path)
    assert summary["estimated"]["train"] < 0.1
    assert summary["iterations"] < 1000
    assert "overfit=0.1" in summary["changed"]


def test_overfit_needs_evaluations_that_can_end_it(called: Script, tmp_path: Path) -> None:
    done = called("train.py", "model=transformer", "overfit=0.1", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == ("error: overfit= trains on one batch, without epochs: add training.eval_interval=50\n")


def test_overfit_fails_if_the_loss_stays_above(called: Script, corpus_file: Path, tmp_path: Path) -> None:
    """A bigram table cannot learn which of two successors comes where."""
    done = called(
        "train.py", "model=v1", "debug=overfit", "training.max_iters=100", "data=text", f"data.path={corpus_file}",
        *SMALL, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[-1].startswith("error: the loss on one batch is ")
    assert lines[-1].endswith("after 100 iterations, which is not below 0.1")


@pytest.mark.parametrize("stage", ["v8", "transformer"])
def test_fast_does_two_iterations_of_everything(stage: str, called: Script, corpus_file: Path, tmp_path: Path) -> None:
    size = {
        "v8": ["model.n_embd=32", "model.n_head=4", "model.block_size=32", "model.n_layer=2"],
        "transformer": ["model.n_embd=32", "model.n_hidden=32"],
    }
    text = ["data=text", f"data.path={corpus_file}"]
    data = ["data=copy", "data.size=200"] if stage == "transformer" else text
    done = called("train.py", f"model={stage}", "debug=fast", *size.get(stage, []), *data, "device=cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert summary_of(tmp_path)["iterations"] == 2
    rows = [json.loads(line) for line in (run_of(tmp_path) / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows if "val" in row] == [0, 1, 2]
    assert [row["iteration"] for row in rows if "gradient_norm" in row] == [1, 2]
    checkpoints = {path.name for path in (run_of(tmp_path) / "checkpoints").iterdir()}
    assert checkpoints == {"00000001", "00000002"}


def test_profile_leaves_a_trace_and_a_table(called: Script, corpus_file: Path, tmp_path: Path) -> None:
    done = called(
        "train.py", "model=v2", "debug=profile", "logger=csv", "data=text", f"data.path={corpus_file}", *SMALL,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {"trace.json.gz", "operators.txt", "metrics.csv"} <= {path.name for path in run_of(tmp_path).iterdir()}
