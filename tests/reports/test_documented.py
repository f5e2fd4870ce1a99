"""The comparison counts what can be compared, and says why it does not count the rest."""

from pathlib import Path

import pytest

from gpt.config.schema import Documented
from gpt.reports.documented import compare, table
from gpt.reports.plots import draw
from gpt.runs.finding import FinishedRun
from gpt.runs.folder import RunFolder
from gpt.runs.records import Estimated
from gpt.training.state import State
from tests.conftest import empty_run
from tests.losses import estimated, evaluation, exact
from tests.reports.test_ranking import RUN

SUMMARY = RunFolder(RUN).summary().model_copy(update={"changed": []})  # as if it had the documented settings


def runs(*changes: dict) -> list[FinishedRun]:
    return [FinishedRun(RunFolder(RUN), SUMMARY.model_copy(update=change)) for change in changes]


def documented(val: float | None, train: float | None = None, kind: str | None = "estimated") -> dict:
    return {"documented": Documented(train=train, val=val, kind=kind)}


def losses(train: float, val: float, of_split: float = 2.0) -> dict:
    return {"estimated": Estimated(train=estimated(train), val=estimated(val)), "exact": exact(of_split)}


def test_mean_and_deviation_over_seeds() -> None:
    by_seed = {1: losses(1.9, 2.05, 2.06), 2: losses(1.9, 2.07, 2.08), 3: losses(1.9, 2.09, 2.10)}
    given = runs(*({"stage": "v5", "seed": seed, **documented(2.0808), **by_seed[seed]} for seed in by_seed))
    (row,) = compare(given, tolerance=0.03).rows
    assert (row.stage, row.seeds, row.documented) == ("v5", [1, 2, 3], 2.0808)
    figures = (row.measured, row.deviation, row.exact, row.difference)
    assert figures == pytest.approx((2.07, 0.02, 2.08, -0.0108))
    assert row.verdict == "agrees within 0.03"
    (strict,) = compare(given, tolerance=0.01).rows
    assert strict.verdict == "differs by more than 0.01"


def test_a_sampled_loss_never_passes_for_a_complete_one() -> None:
    whole, sample = exact(2.0), exact(2.0, 80)
    for losses, text in (
        ([whole, whole], "every target"),
        ([sample, sample], "80 of 900 targets"),
        ([whole, sample], "80 of 900 targets or every target"),
    ):
        given = runs(*({"seed": seed, "exact": exact, **documented(2.0808)} for seed, exact in enumerate(losses)))
        comparison = compare(given, tolerance=0.03)
        assert f"exact: {text} of the validation" in table(comparison, "simple")
        assert comparison.rows[0].exact == (2.0 if losses[0] == losses[1] else None)


def test_a_mini_batch_is_not_compared_with_an_estimate() -> None:
    changes = documented(None, 2.5769, "mini-batch") | {"last_batch": estimated(2.51)}
    comparison = compare(runs(changes), tolerance=0.03)
    (row,) = comparison.rows
    assert (row.difference, row.verdict[:14], "2.5100" in row.verdict) == (None, "not comparable", True)
    assert "2.5769 *" in table(comparison, "simple")


def test_a_missing_figure_is_filled_in() -> None:
    (row,) = compare(runs({**documented(None, kind=None), **losses(2.2, 2.3)}), tolerance=0.03).rows
    assert (row.documented, row.difference, row.measured) == (None, None, 2.3)
    assert "filled in" in row.verdict


def test_a_documented_train_loss_has_its_own_row() -> None:
    train, val = compare(runs({**documented(1.4873, 1.0763), **losses(1.1, 1.5)}), tolerance=0.03).rows
    assert (train.split, train.documented, train.measured) == ("train", 1.0763, 1.1)
    assert (val.split, val.documented, val.measured) == ("val", 1.4873, 1.5)


def test_changed_and_repeated_runs_are_not_counted() -> None:
    changed = {**losses(1.9, 1.7), "changed": ["model.n_layer=9"]}
    found = (losses(1.9, 2.5), losses(1.9, 2.08), changed)
    given = runs(*({"stage": "v5", "seed": 1, **documented(2.0808), **each} for each in found))
    comparison = compare(given, tolerance=0.03)
    assert [row.measured for row in comparison.rows] == [2.08]
    assert "| v5" in table(comparison, "github")


def test_a_single_evaluation_is_drawn_as_a_point(tmp_path: Path) -> None:
    run = empty_run(tmp_path / "run")
    run.write_metrics(State(iteration=0, evaluations=[evaluation(0, 4.0, 3.0)]))
    summaries = [summary for _, summary in runs(documented(2.0), documented(None, 2.5, "mini-batch") | {"stage": "v1"})]
    figure = draw(compare([FinishedRun(run, summary) for summary in summaries], tolerance=0.03), [], "iterations")
    assert figure is not None
    axes, _ = figure.axes
    points = [(line.get_marker(), *map(float, line.get_ydata())) for line in axes.lines]
    assert points == [(".", 3.0), (".", 3.0), (".", 3.0), (".", 3.0), ("+", 2.5), ("x", 2.0)]
    assert axes.get_legend_handles_labels()[1] == ["documented, one mini-batch", "documented"]
