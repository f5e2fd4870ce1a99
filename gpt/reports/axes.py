"""Axes whose numbers can be read: short, and none on top of another."""

import math
from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT = 5  # inches of a panel
_APART = 0.08  # of the length of the axis: the least between two ticks


def panels(count: int, *, with_sides: bool = False) -> tuple["Figure", list["Axes"], list["Axes"]]:
    """A figure with this many axes, one below the other, and, with `with_sides`, narrower ones beside them."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(14 if with_sides else 9, _HEIGHT * count), layout="constrained")
    ratios = [2, 1] if with_sides else [1]
    axes = figure.subplots(count, len(ratios), squeeze=False, width_ratios=ratios)
    return figure, list(axes[:, 0]), list(axes[:, 1]) if with_sides else []


def mark_values(axes: "Axes", values: Collection[float]) -> None:
    """Mark values on the horizontal axis: the largest, and as many others as do not touch."""
    from matplotlib.ticker import NullLocator

    marks = sorted(set(values), reverse=True)
    places = axes.xaxis.get_transform().transform(marks)
    kept, last = list[float](), math.inf
    for value, place in zip(marks, places, strict=True):
        if last - place >= _APART * (places[0] - places[-1]):
            kept.append(value)
            last = place
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(kept, [short(value) for value in kept])


def short(value: float) -> str:
    """A number in few characters: 5,000, 42.4k, 4.19M."""
    for size, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k")):
        if size <= value < 1e15:
            return f"{value / (1e3 if suffix == 'k' else size):.3g}{suffix}"
    return f"{value:,.0f}" if value == round(value) and value < 1e15 else f"{value:.4g}"
