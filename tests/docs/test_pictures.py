"""The pictures at the head of the stages' pages: what they colour, and that they can be read."""

import sys
from itertools import combinations, product
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb

from gpt.base.ladder import LADDER, SMALL
from tests.conftest import REPOSITORY
from tests.extras import require_extra

require_extra("docs")
sys.path[:0] = [str(REPOSITORY / "docs"), str(REPOSITORY / "docs" / "_ext")]
from pictures.flow import FLOWS, stage_rows
from pictures.theme import THEMES, stage_colour

STAGES = [stage for stage in LADDER if stage not in SMALL]  # the others are live


def drawn(stage: str) -> Any:
    with mpl.rc_context(THEMES["light"]):  # colours alone differ in the dark one
        figure = FLOWS[f"flow-{stage}"]()
    FigureCanvasAgg(figure).draw()
    return figure


def colours(stage: str) -> list[str]:
    """Of what is coloured: the texts in filled boxes, and what the lines say."""
    (axes,) = drawn(stage).axes
    ink = to_hex(THEMES["light"]["text.color"])
    found = [line.get_color() for line in axes.lines] + [patch.get_edgecolor() for patch in axes.patches]
    return [colour for colour in map(to_hex, found) if colour != ink]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_colours_what_it_adds_and_nothing_else(stage: str) -> None:
    rows = stage_rows(stage)
    parts = sum(part.since == stage for row in rows for part in row.parts)
    with mpl.rc_context(THEMES["light"]):
        assert colours(stage) == [stage_colour(stage)] * parts
    assert parts > 0


@pytest.mark.parametrize("stage", STAGES)
def test_no_text_is_cut_off_or_covered(stage: str) -> None:
    figure = drawn(stage)
    (axes,) = figure.axes
    texts = [(text.get_text(), text.get_window_extent()) for text in axes.texts if text.get_text()]
    labels = [part.label for row in stage_rows(stage) for part in row.parts]
    assert [name for name, _ in texts if name in labels] == labels
    page = figure.bbox
    for name, box in texts:
        assert page.x0 <= box.x0 < box.x1 <= page.x1, name
        assert page.y0 <= box.y0 < box.y1 <= page.y1, name
    for (name, box), (other, covering) in combinations(texts, 2):
        assert not box.overlaps(covering), (name, other)


@pytest.mark.parametrize(("theme", "papers"), [("light", ("#ffffff", "#f8f9fb")), ("dark", ("#131416", "#23272f"))])
def test_the_colours_of_the_stages_can_be_read(theme: str, papers: tuple[str, ...]) -> None:
    def luminance(colour: str) -> float:
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in to_rgb(colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    with mpl.rc_context(THEMES[theme]):
        found = [luminance(stage_colour(stage)) for stage in LADDER]
    for ink, paper in product(found, map(luminance, papers)):
        assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) > 4.5
