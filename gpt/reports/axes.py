"""Axes whose numbers can be read: short, and none on top of another."""

import math
from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_HEIGHT = 5  # inches
_MOST_DECADES = 3  # decades with ticks at 1, 2 and 5; an axis with more has powers of ten only
_BESIDE = 0.4  # decades between 0 and the smallest other value
_APART = 0.08  # of the length of the axis: the least between two ticks


def panels(count: int, *, with_sides: bool = False) -> tuple["Figure", list["Axes"], list["Axes"]]:
    """A figure with this many axes, one below the other, and, with `with_sides`, narrower ones beside them."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(14 if with_sides else 9, PANEL_HEIGHT * count), layout="constrained")
    ratios = [2, 1] if with_sides else [1]
    axes = figure.subplots(count, len(ratios), squeeze=False, width_ratios=ratios)
    return figure, list(axes[:, 0]), list(axes[:, 1]) if with_sides else []


def log_axis(axes: "Axes", values: Collection[float]) -> None:
    """Make the horizontal axis logarithmic for values of 0 and more, with the largest marked and 0 at the left end."""
    positive = sorted(value for value in values if value > 0)
    if not positive:
        return
    low, high = positive[0], positive[-1]
    if 0 in values:
        axes.set_xscale("symlog", linthresh=low, linscale=_BESIDE * 0.9)  # Matplotlib divides it by 0.9.
    else:
        axes.set_xscale("log")
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(decades) <= _MOST_DECADES + 1 else (1,)
    marks = [step * 10.0**decade for decade in decades for step in steps]
    inside = [mark for mark in marks if low <= mark < high]
    mark_values(axes, [*([0.0] if 0 in values else []), *inside, high], is_log=True, zero=low / 10**_BESIDE)


def mark_values(axes: "Axes", values: Collection[float], *, is_log: bool, zero: float = 1.0) -> None:
    """Mark values on the horizontal axis: the largest, the smallest, and as many between them as do not touch.

    On a logarithmic axis, 0 is at the place of `zero`.
    """
    from matplotlib.ticker import NullLocator

    places = {value: math.log(value or zero) if is_log else value for value in sorted(set(values), reverse=True)}
    (largest, last), *_, (smallest, first) = [*places.items(), *places.items()]
    least = _APART * (last - first)
    kept = [largest]
    for value, place in places.items():
        if places[kept[-1]] - place >= least and (place - first >= least or value == smallest):
            kept.append(value)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(sorted(set(kept)), [short(value) for value in sorted(set(kept))])


def short(value: float) -> str:
    """A number in few characters: 5,000, 42.4k, 4.19M."""
    if 0 < abs(value) < 1:
        return f"{value:g}"
    for size, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if suffix == 'k' else size):.3g}{suffix}" if abs(value) < 1e15 else f"{value:.3g}"
    return f"{value:,.0f}" if value == round(value) else f"{value:.4g}"
