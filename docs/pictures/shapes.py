"""How the channels of each token become heads."""

from math import nan

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pictures.theme import WIDTH

_T, _H, _D = 8, 4, 8
_CELL = 0.105  # inches
_LEFT, _HEIGHT = 0.55, 4.4  # inches
_TRACKED = (2, 1, 3)  # a token, a head, a channel


def heads_apart() -> Figure:
    """The queries of a window: (T, C), with the channels as heads (T, H, D), and with the heads first (H, T, D)."""
    figure = Figure(figsize=(WIDTH, _HEIGHT))
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(-_HEIGHT, 0))
    axes.axis("off")
    _draw(axes, 0.0, f"(B, T, C) = (B, {_T}, {_H * _D})")
    _draw(axes, -1.32, f"(B, T, H, D) = (B, {_T}, {_H}, {_D})", "unflatten", apart=1, below=0.5)
    _draw(axes, -2.98, f"(B, H, T, D) = (B, {_H}, {_T}, {_D})", "permute", apart=2.2)
    for h in range(_H):
        middle = _LEFT + (h * (_D + 2.2) + _D / 2) * _CELL
        axes.text(middle, 0.1 - _HEIGHT, f"head {h + 1}", ha="center", va="center", fontsize=8.5)
    return figure


def _draw(axes: Axes, top: float, shape: str, call: str = "", apart: float = 0, below: float = 0) -> None:
    """Each token's piece of each head, so many cells apart and below each other."""
    ink = mpl.rcParams["text.color"]
    axes.text(_LEFT, top - 0.2, shape, va="center", fontsize=10, weight="bold")
    axes.text(WIDTH - 0.1, top - 0.2, call, va="center", ha="right", fontsize=10, family="monospace")
    for h, colour in enumerate(mpl.rcParams["axes.prop_cycle"].by_key()["color"][:_H]):
        left = _LEFT + h * (_D + apart) * _CELL
        channels = [left + d * _CELL for d in range(_D + 1)]
        for t in range(_T):
            y = top - 0.36 - (t * (1 + below) + 1) * _CELL
            axes.add_patch(
                Rectangle((left, y), _D * _CELL, _CELL, facecolor=colour, alpha=0.5, edgecolor=ink, linewidth=0.3)
            )
            lines = [y, y + _CELL, nan] * len(channels)  # a line before and after each channel, in one path
            axes.plot([x for x in channels for _ in range(3)], lines, color=ink, linewidth=0.3, alpha=0.4)
            if (t, h) == _TRACKED[:2]:
                axes.add_patch(Rectangle((channels[_TRACKED[2]], y), _CELL, _CELL, facecolor=ink))
            if h == 0 and t in (0, _T - 1):
                axes.text(_LEFT - 0.06, y + _CELL / 2, f"t = {t}", ha="right", va="center", fontsize=8.5)
