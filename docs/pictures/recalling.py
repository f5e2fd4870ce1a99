"""How two layers find the digit of a letter."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from gpt.session.trained import TrainedRun
from pictures.theme import figure, heat, label_cells

_LINE = "k3p0q7z1p"


def induction(runs: Mapping[str, TrainedRun]) -> Figure:
    """The attention of both layers' heads over a line that asks for the digit of p."""
    fig = figure(3.0)
    for axes, weights, layer in zip(fig.subplots(1, 2), runs["recall"].attention(_LINE), (1, 2), strict=True):
        heat(axes, weights[0], largest=1.0)
        label_cells(axes, list(_LINE), list(_LINE))
        axes.set(title=f"layer {layer}", xlabel="looks at")
    return fig
