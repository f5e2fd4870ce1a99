"""The losses of runs after an equal amount of training, which is that of the run that took least."""

import statistics
from pathlib import Path

import pytest

from gpt.reports.comparison import ComparisonReport
from gpt.reports.curves import at_equal
from gpt.reports.ranking import Ranking, rankings
from gpt.reports.tables import equal_table
from gpt.runs.finding import FinishedRun
from gpt.training.progress import Progress
from tests.conftest import REPOSITORY, compare_config
from tests.losses import evaluation, exact
from tests.reports.test_ranking import copies


@pytest.fixture
def run() -> Path:
    return REPOSITORY / "tests" / "runs" / "formats" / "1.0.0"


def with_curve(run: FinishedRun, points: list[tuple[int, float]], flops: float) -> FinishedRun:
    """A run with these losses at these iterations of 100 tokens each, which took so many operations in all."""
    evaluations = [evaluation(i, val, val, 100 * i) for i, val in points]
    run.folder.write_metrics(Progress(iteration=points[-1][0], evaluations=evaluations))
    return FinishedRun(run.folder, run.summary.model_copy(update={"flops": flops}))


def of_two_rates(run: Path, tmp_path: Path) -> tuple[FinishedRun, FinishedRun, FinishedRun]:
    """Two seeds of 0.1, and 0.2, whose updates take twice as many operations each."""
    one, two, dear = copies(run, tmp_path, {"0.1": [2.0, 2.0], "0.2": [1.5]})
    return (
        with_curve(one, [(0, 4.0), (10, 3.0), (20, 2.0)], 2000),
        with_curve(two, [(0, 4.0), (10, 3.2), (20, 2.2)], 2000),
        with_curve(dear, [(0, 4.0), (5, 2.8), (15, 1.5)], 3000),
    )


def ranked(runs: tuple[FinishedRun, ...]) -> Ranking:
    (ranking,) = rankings(runs, "exact")
    return ranking


def test_losses_of_other_tokens_are_compared_by_character(run: Path, tmp_path: Path) -> None:
    """A run whose tokens are four characters each needs four times the loss of one whose tokens are characters."""
    one, two = copies(run, tmp_path, {"0.1": [2.0], "0.2": [8.0]})
    one, two = with_curve(one, [(0, 4.0), (10, 2.2)], 2000), with_curve(two, [(0, 16.0), (10, 8.4)], 2000)
    for tokens, (of, summary) in ((900, one), (225, two)):
        loss = exact(summary.exact.nats, tokens, tokens, characters=900)
        of.write_summary(summary.model_copy(update={"exact": loss, "iterations": 10}))
    equal = at_equal(ranked(tuple(FinishedRun(of, of.summary()) for of, _ in (one, two))), "tokens")
    assert equal is not None
    assert equal.unit == "character"
    losses = [losses for _, losses in equal.losses]
    assert losses == [pytest.approx([2.1]), pytest.approx([2.2])]
    assert "nats per character:" in equal_table(equal, "tokens", "simple")


@pytest.mark.parametrize(
    ("x", "amount", "expected"),
    [
        ("compute", 2000, {0.1: 2.1, 0.2: 2.15}),  # 10 updates of the dear one: halfway from 2.8 to 1.5
        ("tokens", 1500, {0.1: 2.6, 0.2: 1.5}),  # 15 updates of each
    ],
)
def test_the_order_depends_on_what_is_equal(
    x: str, amount: float, expected: dict[float, float], run: Path, tmp_path: Path
) -> None:
    equal = at_equal(ranked(of_two_rates(run, tmp_path)), x)  # type: ignore[arg-type]
    assert equal is not None
    assert equal.amount == pytest.approx(amount)
    found = {group.values["training.learning_rate"]: statistics.mean(losses) for group, losses in equal.losses}
    assert found == pytest.approx(expected)
    assert list(found.values()) == sorted(found.values())


def test_without_an_evaluation_before_or_a_count_of_operations_nothing_is_compared(run: Path, tmp_path: Path) -> None:
    one, two, dear = of_two_rates(run, tmp_path)
    late = with_curve(dear, [(0, 4.0), (15, 1.5)], 30000)
    assert at_equal(ranked((one, two, late)), "compute") is None
    unknown = FinishedRun(dear.folder, dear.summary.model_copy(update={"flops": None}))
    assert at_equal(ranked((one, two, unknown)), "compute") is None
    assert at_equal(ranked((one, two)), "compute") is None  # nothing to compare with


def test_the_table_is_shown_for_what_the_axis_asks_for(run: Path, tmp_path: Path) -> None:
    runs = list(of_two_rates(run, tmp_path))
    tables = {x: ComparisonReport.of(runs, [], compare_config(x=x)).text("github") for x in ("iterations", "tokens")}
    title = "After 1.5e+03 tokens trained on, which all of these runs reached, interpolated between evaluations, "
    title += "nats per token:"
    assert title in tables["tokens"]
    _, _, shown = tables["tokens"].partition(title)
    assert [line.strip("| ").split() for line in shown.splitlines()[4:]] == [
        ["learning\\_rate=0.2", "|", "1.5000"],
        ["learning\\_rate=0.1", "|", "2.6000", "±", "0.1414"],
    ]
    assert "which all of these runs reached" not in tables["iterations"]
