"""A stage as one picture: from the window to the probabilities of the next character, with its new parts in colour."""

from functools import partial
from itertools import pairwise, product
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch
from matplotlib.textpath import TextPath

from gpt.base.ladder import LADDER, SMALL
from gpt.config.composing import compose
from gpt.config.reading import read
from gpt.inspection.dataflow import Part, Row, dataflow
from gpt.models import build, v6_pre_norm
from gpt.models.others import conv, rnn
from pictures.theme import WIDTH, stage_colour

VOCABULARY = 65  # of tiny Shakespeare
_TEXT, _SMALL = 10, 8.5  # points
# In inches: the height of a box, and of an arrow, of one that enters or leaves the blocks, of one with a sum on it.
_BOX, _ARROW, _AT_BLOCKS, _WITH_SUM = 0.26, 0.22, 0.2, 0.2
_PADDING, _GAP = 0.09, 0.05  # inches: beside the text of a box, and between two boxes
_SUM, _TAP = 0.13, 0.1  # inches: from a box down to the sum, and up to where a branch begins
_FRAME, _BYPASS = 0.3, 0.62  # inches from the left: of the frame around the blocks, and of the line around a branch
_MIDDLE = WIDTH / 2
_HEAD: dict[str, Any] = {"arrowstyle": "-|>,head_width=0.15,head_length=0.3", "linewidth": 0.8}
_WORD = "the king"  # as many characters as a window has


def stage_rows(stage: str) -> list[Row]:
    """The rows of a stage with its documented sizes."""
    return dataflow(_built([f"model={stage}"]))


def _built(settings: list[str]) -> Any:
    return build(compose(read("train", settings)).model, VOCABULARY)


def flow(stage: str) -> Figure:
    """The picture of a stage."""
    rows = stage_rows(stage)
    places = [0.0]  # of the middle of each row, from the top downwards
    for row, following in pairwise(rows):
        extra = _AT_BLOCKS * (row.block != following.block) + _WITH_SUM * (row.sum is not None)
        places.append(places[-1] - _BOX - _ARROW - extra)
    height = _BOX - places[-1] + 0.04
    figure = Figure(figsize=(WIDTH, height))
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(places[-1] - _BOX / 2 - 0.02, _BOX / 2 + 0.02))
    axes.axis("off")
    _draw_blocks(axes, stage, rows, places)
    tap = 0.0
    for row, y, below in zip(rows, places, [*places[1:], None], strict=True):
        _draw_parts(axes, stage, row.parts, y)
        if row.begins_branch:
            tap = y + _BOX / 2 + _TAP
        if below is not None:
            _draw_arrow(axes, row, y - _BOX / 2, below + _BOX / 2)
        if row.sum is not None:
            _draw_bypass(axes, tap, y - _BOX / 2 - _SUM, _colour(stage, row.sum.since))
    return figure


def reading(settings: list[str]) -> Figure:
    """Which positions each layer reads, its own and those below it; in colour, what the last prediction reads."""
    layers = [None, *_built(settings).blocks, None]  # between the characters and the predictions
    T, top = len(_WORD), len(layers) - 1
    row = 0.55 if isinstance(layers[1], rnn.Recurrent) else 0.75  # inches: slanting arrows need room
    figure = Figure(figsize=(WIDTH, row * len(layers) + 0.3))
    axes = figure.subplots()
    axes.set(xlim=(-2.2, T - 0.5), ylim=(-0.6 / row, top + 0.5))
    axes.axis("off")
    ink, new = mpl.rcParams["text.color"], mpl.rcParams["axes.prop_cycle"].by_key()["color"][1]
    read = {(T - 1, top): 0}  # how many steps to the right lead from there to the last prediction
    for y, t in product(range(top, -1, -1), range(T - 1, -1, -1)):  # each after those that read it
        layer, is_read = layers[y], (t, y) in read
        sources = [(t, y - 1, 0.0)] if y else []
        if isinstance(layer, rnn.Recurrent):
            sources += [(t - 1, y, 0.24 * i - 0.12 * (layer.states - 1)) for i in range(layer.states)]
        elif isinstance(layer, conv.Block):
            sources.append((t - layer.dilation, y - 1, 0.0))
        elif isinstance(layer, v6_pre_norm.Block):
            sources += [(s, y - 1, 0.0) for s in range(t)]
        colour, alpha = (new, 1.0) if is_read else (ink, 0.3)
        for s, below, shift in sources:
            if s >= 0:
                style = _HEAD | {"shrinkA": 0, "shrinkB": 0, "color": colour, "alpha": alpha}
                beside, above = (0.27, 0.0) if below == y else (0.0, 0.14 / row)  # from the middle of a box to its edge
                start, end = (s + beside, below + above + shift), (t - beside, y - above + shift)
                axes.annotate("", end, start, arrowprops=style)
                if is_read:
                    read[s, below] = min(read[t, y] + (s < t), read.get((s, below), T))
        box = {"boxstyle": "round,pad=0.25", "edgecolor": colour, "facecolor": "none"}
        letter = {0: _WORD[t], top: f"{_WORD[1:]}?"[t]}.get(y, "  ")
        axes.text(t, y, letter, ha="center", va="center", fontsize=_TEXT, family="monospace", bbox=box)
    names = ["reads", *(f"layer {y}" for y in range(1, top)), "predicts"]
    for y, name in enumerate(names):
        axes.text(-2.2, y, name, va="center", fontsize=_TEXT)
    steps = "1 step" if read[0, 0] == 1 else f"{read[0, 0]} steps"
    axes.text(-2.2, -0.5 / row, f"from the first {_WORD[0]} to the last prediction: {steps}", fontsize=_TEXT, color=new)
    return figure


FLOWS = {f"flow-{stage}": partial(flow, stage) for stage in LADDER if stage not in SMALL}
READINGS = {
    "reading-attention": partial(reading, ["model=v6", "model.n_layer=1"]),
    **{f"reading-{stage}": partial(reading, [f"model={stage}"]) for stage in ("gru", "lstm", "conv")},
}


def _draw_parts(axes: Axes, stage: str, parts: list[Part], y: float) -> None:
    widths = [_width(part.label) + 2 * _PADDING for part in parts]
    left = _MIDDLE - (sum(widths) + _GAP * (len(parts) - 1)) / 2
    for part, width in zip(parts, widths, strict=True):
        ink = mpl.rcParams["text.color"]
        if part.since is not None:  # what goes in and comes out is no part, and has no box
            colour, is_new = _colour(stage, part.since), part.since == stage
            ink = _paper() if is_new else ink
            style = {"edgecolor": colour, "facecolor": colour if is_new else "none"}
            _draw_box(axes, left, y - _BOX / 2, width, _BOX, **style)
        axes.text(left + width / 2, y - 0.005, part.label, ha="center", va="center", fontsize=_TEXT, color=ink)
        left += width + _GAP


def _draw_arrow(axes: Axes, row: Row, top: float, bottom: float) -> None:
    style = _HEAD | {"shrinkA": 0, "shrinkB": 0, "color": mpl.rcParams["text.color"]}
    axes.annotate("", (_MIDDLE, bottom), (_MIDDLE, top), arrowprops=style)
    beside, below = (0.17, _SUM) if row.sum is not None else (0.1, _ARROW / 2)
    axes.text(_MIDDLE + beside, top - below, row.shape, va="center", fontsize=_SMALL, alpha=0.8)


def _draw_bypass(axes: Axes, top: float, bottom: float, colour: str) -> None:
    """The residual connection around a branch, and the sum in which it ends."""
    line: dict[str, Any] = {"color": colour, "linewidth": 1.2, "solid_joinstyle": "round"}
    axes.plot([_MIDDLE, _BYPASS, _BYPASS, _MIDDLE], [top, top, bottom, bottom], **line)
    style: dict[str, Any] = {"facecolor": _paper(), "edgecolor": colour, "linewidth": 1.2, "zorder": 3}
    axes.add_patch(Circle((_MIDDLE, bottom), 0.08, **style))
    axes.plot([_MIDDLE - 0.045, _MIDDLE + 0.045], [bottom, bottom], zorder=4, **line)
    axes.plot([_MIDDLE, _MIDDLE], [bottom - 0.045, bottom + 0.045], zorder=4, **line)


def _draw_blocks(axes: Axes, stage: str, rows: list[Row], places: list[float]) -> None:
    """A frame around the rows of a block, if there are blocks."""
    inside = [y for row, y in zip(rows, places, strict=True) if row.block is not None]
    blocks = next((row.block for row in rows if row.block is not None), None)
    if blocks is None:
        return
    colour, top = _colour(stage, blocks.since), inside[0] + _BOX / 2 + _AT_BLOCKS
    bottom = places[places.index(inside[-1]) + 1] + _BOX / 2 + _AT_BLOCKS
    style: dict[str, Any] = {"edgecolor": colour, "linestyle": (0, (4, 3))}
    _draw_box(axes, _FRAME, bottom, WIDTH - 2 * _FRAME, top - bottom, **style)
    axes.text(WIDTH - _FRAME - 0.1, top - 0.13, blocks.label, ha="right", va="center", fontsize=_TEXT, color=colour)


def _draw_box(axes: Axes, left: float, bottom: float, width: float, height: float, **style: Any) -> None:
    options: dict[str, Any] = {"boxstyle": "round,pad=0,rounding_size=0.06", "facecolor": "none", "linewidth": 1.0}
    axes.add_patch(FancyBboxPatch((left, bottom), width, height, **(options | style)))


def _width(text: str) -> float:
    return float(TextPath((0, 0), text, size=_TEXT).get_extents().width) / 72  # inches


def _colour(stage: str, since: str | None) -> str:
    """Of what a stage introduces, or of what was there before."""
    return stage_colour(stage) if since == stage else str(mpl.rcParams["text.color"])


def _paper() -> Any:
    return mpl.colormaps[mpl.rcParams["image.cmap"]](0.0)
