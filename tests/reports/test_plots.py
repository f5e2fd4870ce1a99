"""Pictures of many runs stay legible."""

import itertools
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from gpt.reports import plots
from gpt.reports.axes import log_axis, panels, short
from gpt.reports.documented import compare
from gpt.reports.plots import _spread
from gpt.reports.ranking import rankings
from gpt.runs.finding import FinishedRun
from tests.conftest import REPOSITORY, Script
from tests.reports.test_ranking import copies

RUN = REPOSITORY / "tests" / "runs" / "formats" / "1.0.0"


@given(st.lists(st.floats(1e-5, 1e12), min_size=1, max_size=40), st.booleans())
def test_the_numbers_on_an_axis_do_not_touch(values: list[float], has_zero: bool) -> None:
    figure, (axes,) = panels(1)
    numbers = [*values, *([0.0] if has_zero else [])]
    axes.plot(numbers, numbers)
    log_axis(axes, numbers)
    figure.draw_without_rendering()
    labels = [label for label in axes.get_xticklabels() if label.get_visible() and label.get_text()]
    boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: box.x0)
    assert all(a.x1 <= b.x0 for a, b in itertools.pairwise(boxes)), [label.get_text() for label in labels]
    assert short(max(values)) in {label.get_text() for label in labels}  # the last one is marked


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (500, "500"), (5000, "5,000"), (42369, "42.4k"), (4192169, "4.19M"), (1.2e10, "12B"), (3e12, "3T"),
     (2e18, "2e+18"), (0.001, "0.001"), (3.5, "3.5")],
)  # fmt: skip
def test_a_number_takes_few_characters(value: float, text: str) -> None:
    assert short(value) == text


@given(st.lists(st.floats(0, 1), max_size=30), st.floats(0.001, 0.1))
def test_names_at_the_ends_of_lines_are_apart_and_in_order(wanted: list[float], gap: float) -> None:
    heights = _spread(sorted(wanted), gap)
    assert all(b - a >= gap - 1e-9 for a, b in itertools.pairwise(heights))
    if all(b - a >= gap for a, b in itertools.pairwise(sorted(wanted))):
        assert heights == pytest.approx(sorted(wanted))


def test_each_line_has_its_name_and_last_loss_at_its_end_from_iteration_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(plots, "write_picture", lambda _, figure: figures.append(figure))
    found: list[FinishedRun] = copies(RUN, tmp_path, {"0.2": [2.0], "0.1": [1.0], "0.4": [3.0]})
    assert plots.curves(
        compare([], tolerance=0.1), rankings(found, "exact"), "iterations", tmp_path / "x.svg", "A title"
    )
    (axes,) = figures[0].axes
    texts = [text.get_text() for text in axes.texts]
    last = found[0].folder.evaluations()[-1].val.nats
    assert sorted(texts) == [f"learning\\_rate={rate}  {last:.4f}".replace("\\_", "_") for rate in (0.1, 0.2, 0.4)]
    assert {line.get_xdata()[0] for line in axes.lines} == {0}
    assert figures[0].get_suptitle() == "A title"


def test_a_slide_is_one_file(called: Script, tmp_path: Path) -> None:
    shutil.copytree(RUN, tmp_path / "runs" / "a")
    for name, beginning in (("s.svg", b"<?xml"), ("s.PNG", b"\x89PNG"), ("s.pdf", b"%PDF")):
        done = called("compare.py", f"out=slides/{name}", "title=What is it worth?", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith(f"written: slides/{name}\n")
        assert (tmp_path / "slides" / name).read_bytes().startswith(beginning)
    assert len([*(tmp_path / "slides").iterdir()]) == 3
    (tmp_path / "x.png").mkdir()
    done = called("compare.py", "out=x.png", cwd=tmp_path)
    assert done.returncode == 2
    assert "out=x.png is a folder" in done.stderr


def test_stages_are_chosen_together_and_damaged_runs_alone_are_an_error(called: Script, tmp_path: Path) -> None:
    shutil.copytree(RUN, tmp_path / "runs" / "a")
    done = called("compare.py", "stage=v1,v6,v5", cwd=tmp_path)
    assert done.returncode in (0, 2)
    path = tmp_path / "runs" / "a" / "tokenizer.json"
    path.write_text(path.read_text().replace('"characters"', '"Characters"'))
    config = tmp_path / "runs" / "a" / "config.yaml"
    config.write_text(config.read_text() + "\n")
    done = called("compare.py", "metric=val", cwd=tmp_path)
    assert "damaged" in done.stderr
