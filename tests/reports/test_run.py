"""The report of a run: what it says beside the documented loss, and when it compares."""

import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from gpt.config.schema import Documented
from gpt.reports.run import closing_lines, curve_of_run
from gpt.runs.folder import RunFolder
from gpt.runs.records import Estimated
from gpt.training.state import Means, State
from tests.losses import estimated, exact
from tests.reports.test_documented import SUMMARY
from tests.reports.test_ranking import RUN


def report(**changes: Any) -> dict[str, str]:
    """The lines of a report by their first word."""
    return {line.split()[0]: line for line in closing_lines(SUMMARY.model_copy(update=changes), RunFolder(RUN))}


ESTIMATED = Estimated(train=estimated(1.5), val=estimated(2.0608))
LOSSES = {"estimated": ESTIMATED, "exact": exact(2.0611), "best": estimated(2.01, weights=20)}
DOCUMENTED = {"documented": Documented(train=None, val=2.0607, kind="estimated")}


def test_documented_measured_and_exact_losses_are_shown_side_by_side() -> None:
    lines = report(**LOSSES, **DOCUMENTED)
    assert re.search(r"-\s+2\.0607\s+estimated$", lines["documented"])
    assert re.search(r"1\.5000\s+2\.0608\s+estimated over random batches$", lines["measured"])
    assert re.search(r"-\s+2\.0611\s+every target of the validation split once$", lines["exact"])
    assert re.search(r"-\s+\+0\.0001\s+measured - documented$", lines["difference"])
    assert lines["best"] == "best validation loss 2.0100 at iteration 20"
    assert lines["sample"] == f"sample from it: python generate.py run={RUN}"


def test_a_changed_run_is_not_compared_with_the_documented_one() -> None:
    lines = report(**LOSSES, **DOCUMENTED, changed=["model.n_layer=4", "schedule=cosine"])
    assert not {"difference", "documented"} & lines.keys()
    assert lines["not"] == "not the documented run of v5: model.n_layer=4, schedule=cosine"


def test_a_mini_batch_is_beside_the_last_mini_batch() -> None:
    documented = Documented(train=2.5769, val=None, kind="mini-batch")
    lines = report(**LOSSES, documented=documented, last_batch=estimated(2.5))
    assert "2.5769" in lines["documented"]
    assert "one training mini-batch" in lines["documented"]
    assert re.search(r"2\.5000\s+-\s+last training mini-batch of this run$", lines["last"])
    assert "difference" not in lines


def test_a_stage_without_a_documented_figure_says_so() -> None:
    lines = report(**LOSSES, documented=Documented(train=None, val=None, kind=None))
    assert lines["documented"].endswith("no figure was documented")


def test_the_loss_of_averaged_weights_says_so() -> None:
    averaged = LOSSES["exact"].model_copy(update={"weights": "averaged"})
    lines = report(**LOSSES | {"exact": averaged}, **DOCUMENTED)
    assert lines["exact"].endswith("once by the averaged weights")


def test_a_target_is_judged_by_the_whole_split_only() -> None:
    for loss, verdict in (
        (exact(2.0), "token reached after"),
        (exact(2.1), "token missed after"),
        (exact(4.0, characters=1800), "character reached after"),  # as it is ranked
        (exact(1.9, 899), "token not judged by 899 of 900 targets"),
        (exact(1.9, left_out=7), "token not judged by a part of the validation split"),
    ):
        lines = report(target=2.0, exact=loss)
        assert lines["target"].startswith(f"target 2.0000 nats per {verdict}")
        assert ("once, 7 of its characters left out" in lines["exact"]) == bool(loss.over.left_out)


def test_the_loss_curve_has_a_panel_for_each_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder(Path(shutil.copytree(RUN, tmp_path / "run")))
    assert curve_of_run(run, SUMMARY).content.startswith(b"\x89PNG")
    progress = State(iteration=40)
    for number, evaluation in enumerate(run.evaluations()):  # chosen when the run was resumed, and once not finite
        means = {"accuracy": Means(train=0.1 * number, val=None if number == 1 else 0.2)} if number else {}
        progress.evaluations.append(evaluation.model_copy(update={"metrics": means}))
    run.write_metrics(progress)
    figures: list = []
    monkeypatch.setattr("gpt.reports.run.picture", lambda figure: (figures.append(figure), b"")[1])
    curve_of_run(run, SUMMARY)
    losses, accuracy = figures[0].axes
    assert (losses.get_ylabel(), accuracy.get_ylabel()) == ("loss (nats per token)", "accuracy")
    assert [list(line.get_xdata()) for line in accuracy.lines] == [[20, 40]] * 2
    train, val = (list(line.get_ydata()) for line in accuracy.lines)
    assert train == pytest.approx([0.1, 0.2])
    assert val == pytest.approx([math.nan, 0.2], nan_ok=True)
