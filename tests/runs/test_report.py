"""The report of a run: what it says beside the documented loss, and when it compares."""

import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt.config import Documented
from gpt.runs.comparison import compare
from gpt.runs.finding import finished_runs
from gpt.runs.folder import RunFolder
from gpt.runs.records import Best, Estimated, Evaluation, Exact, Progress, Segment, Summary
from gpt.runs.report import closing_lines, plot_run, summarise
from tests.conftest import CPU


@pytest.fixture
def template(trained: Path) -> tuple[RunFolder, Summary]:
    return finished_runs(trained / "runs")[-1]


def report(template: tuple[RunFolder, Summary], **changes: Any) -> dict[str, str]:
    """The lines of a report by their first word."""
    run, summary = template
    lines = closing_lines(summary.model_copy(update={"changed": []} | changes), run)
    return {line.split()[0]: line for line in lines}


LOSSES = {
    "estimated": Estimated(train=1.5, val=2.0608),
    "exact": Exact(val=2.0611),
    "best": Best(val=2.01, iteration=40),
}
DOCUMENTED = {"documented": Documented(train=None, val=2.0607, kind="estimated")}


def test_documented_measured_and_exact_losses_are_shown_side_by_side(template: tuple) -> None:
    lines = report(template, **LOSSES, **DOCUMENTED)
    assert re.search(r"-\s+2\.0607\s+estimated$", lines["documented"])
    assert re.search(r"1\.5000\s+2\.0608\s+estimated over random batches$", lines["measured"])
    assert re.search(r"-\s+2\.0611\s+every target of the validation split once$", lines["exact"])
    assert re.search(r"-\s+\+0\.0001\s+measured - documented$", lines["difference"])
    assert lines["best"] == "best validation loss 2.0100 at iteration 40"
    assert lines["sample"] == f"sample from it: python generate.py run={template[0].path}"


def test_a_run_with_changed_hyperparameters_is_not_compared_with_the_documented_one(template: tuple) -> None:
    lines = report(template, **LOSSES, **DOCUMENTED, changed=["model.n_layer=4", "schedule=cosine"])
    assert "difference" not in lines
    assert "documented" not in lines
    assert lines["not"] == "not the documented run of v7: model.n_layer=4, schedule=cosine"


def test_a_mini_batch_is_beside_the_last_mini_batch(template: tuple) -> None:
    documented = Documented(train=2.5769, val=None, kind="mini-batch")
    lines = report(template, **LOSSES, documented=documented, last_batch=2.5)
    assert "2.5769" in lines["documented"]
    assert "one training mini-batch" in lines["documented"]
    assert re.search(r"2\.5000\s+-\s+last training mini-batch of this run$", lines["last"])
    assert "difference" not in lines


def test_a_stage_without_a_documented_figure_says_so(template: tuple) -> None:
    lines = report(template, **LOSSES, documented=Documented(train=None, val=None, kind=None))
    assert lines["documented"].endswith("no figure was documented")


def test_an_exact_loss_of_averaged_weights_says_so(template: tuple) -> None:
    assert report(template, averaged=3)["exact"].endswith("once by the averaged weights")


def test_the_summary_is_of_the_last_and_of_the_best_evaluation() -> None:
    evaluations = [
        Evaluation(iteration=i, train=3.0 - i, val=val, learning_rates={"all": 0.1})
        for i, val in enumerate([3.0, 1.0, 2.0])
    ]
    progress = Progress(iteration=2, tokens=512, seconds=2.0, evaluations=evaluations, best=evaluations[1])
    summary = summarise(
        progress, CPU, stage="v5", seed=7, name="wide", tags=["a"], parent=None, commands=[],
        documented=Documented(train=None, val=2.0, kind="estimated"),
        changed=["seed=7"], parameters=100, estimated_over="random batches", exact_val=1.9, target=None,
        last_batch=1.8, tokens_per_second=256.4, seconds=3.14159, skipped=1,
    )  # fmt: skip
    assert (summary.estimated.train, summary.estimated.val) == (1.0, 2.0)
    assert (summary.best.val, summary.best.iteration) == (1.0, 1)
    assert (summary.iterations, summary.exact.val, summary.last_batch) == (2, 1.9, 1.8)
    assert (summary.tokens_per_second, summary.seconds, summary.skipped) == (256, 3.14, 1)
    assert (summary.device, summary.dtype) == ("cpu", "float32")
    assert summary.versions["torch"] == torch.__version__
    assert summary.finished.tzinfo is not None


def test_a_run_without_an_update_has_no_last_mini_batch(template: tuple) -> None:
    evaluation = Evaluation(iteration=0, train=2.0, val=2.0, learning_rates={"all": 0.1})
    summary = summarise(
        Progress(evaluations=[evaluation]), CPU, stage="v1", seed=7, name=None, tags=[], parent=None, commands=[],
        documented=Documented(train=2.5, val=None, kind="mini-batch"), changed=[], parameters=100,
        estimated_over="random batches", exact_val=1.9, target=None, last_batch=math.nan, tokens_per_second=0.0,
        seconds=0.1, skipped=0,
    )  # fmt: skip
    assert summary.last_batch is None
    assert compare([(template[0], summary)], tolerance=0.03).rows[0].verdict.endswith("of one mini-batch")


def test_a_summary_says_what_was_different_in_earlier_parts_of_the_run(template: tuple) -> None:
    """Be that another value, or the documented one where the run ended with another."""
    history = [
        Segment(until=20, changed=["training.max_iters=30"]),
        Segment(until=30, changed=["training.learning_rate=0.1", "schedule=cosine"]),
    ]
    evaluation = Evaluation(iteration=40, train=2.0, val=2.0, learning_rates={"all": 0.1})
    progress = Progress(iteration=40, tokens=512, seconds=2.0, evaluations=[evaluation], history=history)
    now = ["training.max_iters=40", "training.learning_rate=0.2", "schedule=cosine"]
    summary = summarise(
        progress, CPU, stage="v5", seed=7, name=None, tags=[], parent=None, commands=[], changed=now,
        documented=Documented(train=None, val=2.0, kind="estimated"),
        parameters=100, estimated_over="random batches", exact_val=1.9, target=None, last_batch=1.8,
        tokens_per_second=256.4, seconds=3.1, skipped=0,
    )  # fmt: skip
    assert summary.changed == [
        *now,
        "training.learning_rate as documented until iteration 20",
        "schedule as documented until iteration 20",
        "training.learning_rate=0.1 until iteration 30",
    ]


def test_a_summary_on_disk_is_the_one_that_was_written(template: tuple, tmp_path: Path) -> None:
    run = RunFolder(Path(shutil.copytree(template[0].path, tmp_path / "run")))
    changed = template[1].model_copy(update={"last_batch": math.pi})
    run.write_summary(changed)
    assert run.summary() == changed


def test_the_loss_curve_is_a_picture(template: tuple, tmp_path: Path) -> None:
    run = RunFolder(Path(shutil.copytree(template[0].path, tmp_path / "run")))
    (run.path / "loss.png").unlink()
    plot_run(run, template[1])
    assert (run.path / "loss.png").read_bytes().startswith(b"\x89PNG")
