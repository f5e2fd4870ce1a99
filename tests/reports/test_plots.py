"""Pictures of many runs stay legible; losses after an equal amount of training; losses against keys and sizes."""

import itertools
import re
import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from gpt.base.errors import RequestError
from gpt.base.pictures import FORMATS, picture
from gpt.registry import Choice
from gpt.reports import plots, reference_losses
from gpt.reports.axes import mark_values, panels, short
from gpt.reports.comparison import ComparisonReport
from gpt.reports.documented import compare
from gpt.reports.plots import Axis, at_equal
from gpt.reports.ranking import Ranking, rankings
from gpt.reports.tables import equal_table
from gpt.runs.finding import FinishedRun
from gpt.training.state import State
from tests.conftest import compare_config
from tests.losses import evaluation, exact
from tests.reports.test_ranking import configure, copies


def with_curve(run: FinishedRun, points: list[tuple[int, float]], flops: float) -> FinishedRun:
    """A run with these losses at these iterations of 100 tokens each, which took so many operations in all."""
    evaluations = [evaluation(i, val, val, 100 * i) for i, val in points]
    run.folder.write_metrics(State(iteration=points[-1][0], evaluations=evaluations))
    return FinishedRun(run.folder, run.summary.model_copy(update={"flops": flops}))


@pytest.fixture
def of_two_rates(tmp_path: Path) -> list[FinishedRun]:
    """Two seeds of 0.1, and 0.2, whose updates take twice as many operations each."""
    curves = ([(0, 4.0), (10, 3.0), (20, 2.0)], [(0, 4.0), (10, 3.2), (20, 2.2)], [(0, 4.0), (5, 2.8), (15, 1.5)])
    found = copies(tmp_path, {"0.1": [2.0, 2.0], "0.2": [1.5]})
    return [with_curve(*each) for each in zip(found, curves, (2000, 2000, 3000), strict=True)]


def ranked(runs: list[FinishedRun]) -> Ranking:
    (ranking,) = rankings(runs, "exact")
    return ranking


@pytest.mark.slow
@given(st.lists(st.floats(1e-5, 1e12), min_size=1, max_size=40), st.booleans())
def test_the_numbers_on_an_axis_do_not_touch(values: list[float], is_log: bool) -> None:
    figure, (axes,), _ = panels(1)
    axes.plot(values, values)
    axes.set_xscale("log" if is_log else "linear")
    mark_values(axes, values)
    figure.draw_without_rendering()
    labels = [label for label in axes.get_xticklabels() if label.get_visible() and label.get_text()]
    boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: box.x0)
    assert all(a.x1 <= b.x0 for a, b in itertools.pairwise(boxes)), [label.get_text() for label in labels]
    assert short(max(values)) in {label.get_text() for label in labels}


def test_a_number_takes_few_characters() -> None:
    numbers = (0, 500, 5000, 42369, 4192169, 1.2e10, 3e12, 2e18, 0.001, 3.5)
    assert " ".join(map(short, numbers)) == "0 500 5,000 42.4k 4.19M 12B 3T 2e+18 0.001 3.5"


def test_each_curve_starts_at_0_and_names_its_loss(tmp_path: Path) -> None:
    found = copies(tmp_path, {"0.2": [2.0], "0.1": [1.0], "0.4": [3.0]})
    figure = plots.draw(compare([], tolerance=0.1), rankings(found, "exact"), "iterations", "A title")
    assert figure is not None
    axes, ends = figure.axes
    names = sorted(text.get_text() for text in ends.get_yticklabels())
    assert names == [f"learning_rate={rate}\n{loss:.4f}" for rate, loss in ((0.1, 1), (0.2, 2), (0.4, 3))]
    assert {line.get_xdata()[0] for line in axes.lines} == {0}
    assert figure.get_suptitle() == "A title"


def test_a_run_with_a_damaged_history_has_no_curve(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = copies(tmp_path, {"0.2": [2.0], "0.1": [1.0], "0.4": [3.0], "0.8": [4.0]})
    path = found[3].folder.path / "metrics.jsonl"
    path.write_text(path.read_text().replace("train", "strain", 1))
    figure = plots.draw(compare([], tolerance=0.1), rankings(found, "exact"), "iterations")
    assert figure is not None
    axes, _ = figure.axes
    assert len(axes.lines) == 2 * 3  # a line for each seed and each mean
    assert str(path) in caplog.text


def test_the_mean_curve_has_the_iterations_that_all_seeds_have(tmp_path: Path) -> None:
    found = copies(tmp_path, {"0.1": [2.0, 2.2]})
    with_curve(found[0], [(0, 3.0), (40, 2.0)], 2000)
    axes = Figure().subplots()
    plots._draw_groups(axes, [("both", found)], "iterations", "token")
    *_, mean = axes.lines
    assert list(mean.get_xdata()) == [0, 40]


def test_a_slide_has_the_losses_of_the_table(tmp_path: Path) -> None:
    found = copies(tmp_path, {"0.1": [2.0, 2.2], "0.2": [2.11]})
    figure = plots.draw(compare([], tolerance=0.1), rankings(found, "exact"), "iterations")
    assert figure is not None
    _, ends = figure.axes
    assert [float(line.get_xdata()[0]) for line in ends.lines if line.get_marker() == "o"] == pytest.approx([2.1, 2.11])
    assert [text.get_text() for text in ends.get_yticklabels()] == [
        "learning_rate=0.1\n2.1000 ± 0.1414",
        "learning_rate=0.2\n2.1100",
    ]
    assert ends.get_xlabel() == "exact loss (nats per character)"
    low, high = ends.get_xlim()
    assert high - low < 0.4  # on which differences can be seen


def test_losses_of_other_tokens_are_compared_by_character(tmp_path: Path) -> None:
    """A run whose tokens are four characters each needs four times the loss of one whose tokens are characters."""
    found = []
    for factor, (run, summary) in zip((1, 4), copies(tmp_path, {"0.1": [2.0], "0.2": [8.0]}), strict=True):
        loss = exact(2.0 * factor, 900 // factor, 900 // factor, characters=900)
        run = FinishedRun(run, summary.model_copy(update={"exact": loss}))
        found.append(with_curve(run, [(0, 4.0 * factor), (10, (2.3 - factor / 20) * factor)], 2000))
    text = equal_table(ranked(found), "tokens", "simple")
    assert text is not None
    assert "nats per character:" in text
    rows = [line.split() for line in text.splitlines()[-2:]]
    assert rows == [["learning_rate=0.2", "2.1000"], ["learning_rate=0.1", "2.2500"]]


@pytest.mark.parametrize(
    ("x", "amount", "expected"),
    [
        ("compute", 2000, {0.1: 2.1, 0.2: 2.15}),  # 10 updates of the dear one: halfway from 2.8 to 1.5
        ("tokens", 1500, {0.1: 2.6, 0.2: 1.5}),  # 15 updates of each
    ],
)
def test_the_order_depends_on_what_is_equal(
    x: Axis, amount: float, expected: dict[float, float], of_two_rates: list[FinishedRun]
) -> None:
    equal = at_equal(ranked(of_two_rates), x)
    assert equal is not None
    assert equal[0] == pytest.approx(amount)
    found = {group.values["training.learning_rate"]: statistics.mean(losses) for group, losses in equal[1]}
    assert found == pytest.approx(expected)
    assert list(found.values()) == sorted(found.values())
    tables = [ComparisonReport.of(of_two_rates, [], compare_config(x=of)).text("github") for of in ("iterations", x)]
    title = f"After {amount:.3g} {plots.XLABELS[x]}, which all of these runs reached, interpolated between"
    assert [f"{title} evaluations, nats per character:" in text for text in tables] == [False, True]
    assert f"| learning\\_rate=0.2 | {expected[0.2]:.4f} " in tables[1]
    assert f"| learning\\_rate=0.1 | {expected[0.1]:.4f} ± 0.1414 |" in tables[1]


def test_nothing_is_compared_without_operations_or_earlier_evaluations(of_two_rates: list[FinishedRun]) -> None:
    one, two, dear = of_two_rates
    unknown = FinishedRun(dear.folder, dear.summary.model_copy(update={"flops": None}))
    assert at_equal(ranked([one, two, unknown]), "compute") is None
    assert at_equal(ranked([one, two]), "compute") is None  # nothing to compare with
    late = with_curve(dear, [(0, 4.0), (15, 1.5)], 30000)
    assert at_equal(ranked([one, two, late]), "compute") is None


def test_a_diverged_group_is_a_mark_above_the_others(tmp_path: Path) -> None:
    ranking = ranked(copies(tmp_path, {"0.001": [1.8], "0.01": [1.5], "0.1": [1e5]}))
    assert [group.standing for group in ranking.groups] == ["best", "", "worse than guessing"]
    assert not ranking.is_tested  # single seeds tell nothing of the noise
    (axes,) = reference_losses.draw([ranking], "learning_rate", "exact").axes
    assert axes.get_ylim() == pytest.approx((1.47, 1.83))
    (cross,) = [line for line in axes.lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert (cross.get_xdata().item(), cross.get_ydata().item()) == (0.1, 0.97)  # of the height
    assert "diverged" in axes.get_legend_handles_labels()[1]
    assert sorted(axes.get_xticks()) == [0.001, 0.01, 0.1]


def of_sizes(tmp_path: Path, sizes: list[tuple[float, dict[str, int], int]]) -> list[FinishedRun]:
    """Runs with these losses, hyperparameters of v5 and iterations, and the parameters and operations of their size."""
    found = []
    for number, (loss, model, iterations) in enumerate(sizes):
        ((run, summary),) = copies(tmp_path / str(number), {"0.1": [loss]})
        choice = Choice.model_validate({"_target_": "gpt.models.v5_residual.GPT", **model})
        configure(run, {"max_iters": iterations}, model=choice)
        size = 100 * model["n_embd"]
        update = {"parameters": size, "flops": 6.0 * size * iterations, "changed": []}
        found.append(FinishedRun(run, summary.model_copy(update=update)))
    return found


def of_two_sizes(ranking: Ranking, size: str) -> set[tuple]:
    return {tuple(group.values.items()) for group in reference_losses.with_size(ranking, size).groups}


def test_the_loss_is_drawn_against_the_parameters_or_the_compute(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With a line for each setting that does not set the size, in the order of its values."""
    sizes = [(16, 4), (16, 16), (8, 4), (8, 16)]
    losses = dict(zip(sizes, (1.8, 1.2, 2.0, 1.5), strict=True))
    found = of_sizes(tmp_path, [(losses[width, n], {"n_embd": width}, n) for width, n in sizes])
    ranking = ranked(found)
    by_parameters = {(("training.max_iters", n), ("parameters", 100 * width)) for width, n in sizes}
    by_compute = {(("model.n_embd", width), ("compute", 600.0 * width * n)) for width, n in sizes}
    assert of_two_sizes(ranking, "parameters") == by_parameters
    assert of_two_sizes(ranking, "compute") == by_compute
    (axes,) = reference_losses.draw([ranking], "parameters", "exact").axes
    assert axes.get_legend_handles_labels()[1] == ["max_iters=4", "max_iters=16"]
    uncounted = [FinishedRun(run, summary.model_copy(update={"flops": None})) for run, summary in found]
    unknown = ranked(uncounted)
    with pytest.raises(RequestError, match="by=compute"):
        reference_losses.draw([unknown], "compute", "exact")
    assert plots.draw(compare(found, tolerance=0.1), [ranking], "compute") is not None
    assert plots.draw(compare(uncounted, tolerance=0.1), [unknown], "compute") is None
    assert str(tmp_path) in caplog.text


@pytest.mark.parametrize("kind", FORMATS)
def test_glyphs_that_the_font_lacks_are_one_line(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    figure, (axes,), _ = panels(1)
    axes.set_title("中文, 损失 中")
    picture(figure, kind[1:])
    (message,) = caplog.messages
    assert re.fullmatch(".*20013.*", message)
