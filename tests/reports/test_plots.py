"""Pictures of many runs stay legible."""

import pytest

from gpt.reports.plots import add_legend, panels


@pytest.mark.parametrize(("names", "is_beside"), [(5, False), (6, True)])
def test_many_names_stand_beside_the_lines_that_they_would_cover(names: int, *, is_beside: bool) -> None:
    figure, (axes,) = panels(1)
    for number in range(names):
        axes.plot([0, 1], [number, number], label=f"line {number}")
    add_legend(axes)
    figure.draw_without_rendering()
    legend = axes.get_legend().get_window_extent()
    assert (legend.x0 >= axes.get_window_extent().x1) == is_beside
    assert legend.x1 <= figure.bbox.x1
