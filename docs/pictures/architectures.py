"""The charts of What defines a Transformer?, from the tables of docs/lab/architectures.md."""

import re
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from quoting import ARCHITECTURES, numbers, table

from pictures.theme import figure


def remembering() -> Figure:
    """The share of digits that are found, by the length of the pause before the question."""
    fig, axes = _chart("After a pause of 64 characters, only v8 still finds the digit")
    columns, rows = table(ARCHITECTURES, "right, by the length of the pause:")
    _lines(axes, columns, rows, ["v8", "v6", "linear_attention", "gru", "lstm"])
    axes.axhline(0.1, color="C5", linestyle=":")
    axes.text(4, 0.11, "a guess among ten", color="C5", fontsize="small")
    axes.set(xlabel="characters between the digits and the question", ylabel="share of right answers")
    axes.set(xscale="log", ylim=(0, 1.05))
    _ticks(axes, [4, 16, 64])
    axes.legend(loc="upper right", bbox_to_anchor=(1, 0.93))
    return fig


def cost() -> Figure:
    """The time of a training step, by the length of the window."""
    fig, axes = _chart("In long windows, the cost of v6 grows with their square")
    columns, rows = table(ARCHITECTURES, "the memory of a step, on one core.")
    _lines(axes, columns, rows, ["v6", "gru", "linear_attention", "min_gru"])
    axes.set(xlabel="characters of the window", ylabel="milliseconds a training step", xscale="log", yscale="log")
    _ticks(axes, [int(numbers(column)[0]) for column in columns])
    axes.legend()
    return fig


def parts() -> Figure:
    """By how much the loss rises without each part of v6: the mean and each seed."""
    fig, axes = _chart("The softmax is worth less than what surrounds it")
    _, rows = table(ARCHITECTURES, "how large the noise is.")
    missing = [cells for name, cells in sorted(rows.items()) if name != "v6"]  # the empty axes must not tell
    for y, (_, _, worse, by_seed) in enumerate(missing):
        seeds = numbers(by_seed)
        axes.barh(y, numbers(worse)[0], color="C0", alpha=0.35)
        axes.plot(seeds, [y] * len(seeds), "o", color="C0", markersize=4)
    axes.set_yticks(range(len(missing)), [re.split("[:,]", part)[0] for part, *_ in missing])
    axes.set(xlabel="by how much the loss rises (dots: seeds)", xlim=(0, 0.5))
    return fig


def losses() -> Figure:
    """The exact loss after 1,000 updates, by the window."""
    fig, axes = _chart("Recurrent networks are ahead of v6 in every window")
    columns, rows = table(ARCHITECTURES, "**Equal parameters.**")
    places = [numbers(column)[0] for column in columns]
    for name in ("v6", "linear_attention", "mlp", "conv", "gru", "rnn"):
        means, deviations = zip(*(numbers(cell) for cell in rows[name]), strict=True)
        axes.errorbar(places, means, deviations, marker="o", capsize=3, label=name)
    axes.set(xlabel="characters of the window", ylabel="exact validation loss", xscale="log")
    _ticks(axes, [int(place) for place in places])
    axes.legend()
    return fig


def _chart(title: str) -> tuple[Figure, Axes]:
    fig = figure(3.4)
    fig.suptitle(title, x=0.01, ha="left", fontsize="medium")
    axes = fig.subplots()
    axes.grid()
    return fig, axes


def _lines(axes: Axes, columns: Sequence[str], rows: Mapping[str, Sequence[str]], names: Sequence[str]) -> None:
    places = [numbers(column)[0] for column in columns]
    for name in names:
        axes.plot(places, [numbers(cell)[0] for cell in rows[name]], "o-", label=name)


def _ticks(axes: Axes, places: Sequence[int]) -> None:
    axes.set_xticks(places, [f"{place:,}" for place in places])
    axes.minorticks_off()
