"""Colours, sizes and the parts that several pictures share, and the characters of texts and runs in them."""

import functools
import inspect
import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor

import gpt
from gpt.base.files import write_atomically
from gpt.data.tokenizer import TextTokenizer
from gpt.session.trained import TrainedRun
from gpt.tasks.continuation import Continuation

WIDTH = 5.0  # inches: at the width of a phone, labels are still large enough to read

_MAPS = {  # from the page's background to a strong colour
    "light": LinearSegmentedColormap.from_list("page-light", ["#ffffff", "#7fb3dd", "#0b4a86", "#04203d"]),
    "dark": LinearSegmentedColormap.from_list("page-dark", ["#131416", "#1f4e79", "#6fb1f0", "#e6f2ff"]),
}
_SIGNED = (  # the same for values on both sides of zero
    LinearSegmentedColormap.from_list("page-light-signed", ["#c4500a", "#ffffff", "#0b5fa5"]),
    LinearSegmentedColormap.from_list("page-dark-signed", ["#ffa05c", "#131416", "#7cb7ff"]),
)
for _map in (*_MAPS.values(), *_SIGNED):
    mpl.colormaps.register(_map)

_SHARED = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "gpt",
    "legend.frameon": False,
    "axes.axisbelow": True,
}
_CYCLES = {
    "light": ["#0b5fa5", "#c4500a", "#2b7a3d", "#8a3ab9", "#a31545", "#5c6670", "#8a6d00"],
    "dark": ["#7cb7ff", "#ffa05c", "#7fd18f", "#d6a1ff", "#ff8fb0", "#b4bcc4", "#e6c94c"],
}
_TOKENS = Path(gpt.__file__).with_name("playground") / "page" / "tokens.css"
_STAGE = re.compile(r"--(v\w+): light-dark\((#\w+), (#\w+)\);")  # as on the site around the pictures
_STAGES = {name: {"light": light, "dark": dark} for name, light, dark in _STAGE.findall(_TOKENS.read_text("utf-8"))}
_INK = {"light": "#24292f", "dark": "#cfd0d0"}


def _theme(name: str) -> dict[str, Any]:
    ink = _INK[name]
    lines = ("axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color", "text.color")
    return {
        **_SHARED,
        **dict.fromkeys(lines, ink),
        "grid.color": ink,
        "grid.alpha": 0.15,
        "axes.prop_cycle": cycler(color=_CYCLES[name]),
        "image.cmap": f"page-{name}",
    }


THEMES: dict[str, Any] = {name: _theme(name) for name in _MAPS}


def save(picture: Callable[..., Figure], runs: Mapping[str, TrainedRun], theme: str, path: Path) -> None:
    """Draw a picture in a theme, as SVG on a transparent background."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(THEMES[theme]):
        figure = picture(runs) if inspect.signature(picture).parameters else picture()
        content = io.BytesIO()
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None})
    write_atomically(path, content.getvalue())


def emptied(picture: Callable[..., Figure]) -> Callable[..., Figure]:
    """A picture's axes alone, at the same place."""

    @functools.wraps(picture)  # its parameters are asked for
    def empty(*runs: Mapping[str, TrainedRun]) -> Figure:
        figure = picture(*runs)
        figure.draw_without_rendering()  # after which nothing moves
        figure.set_layout_engine("none")
        for axes in figure.axes:
            for artist in (*axes.lines, *axes.patches, *axes.collections, *axes.texts, axes.get_legend()):
                if artist is not None:
                    artist.set_visible(False)
        figure.suptitle("")
        return figure

    return empty


def stage_colour(stage: str) -> str:
    """The colour of a stage in the theme that is being drawn; of a new one without a colour, that of v9."""
    return _STAGES.get(stage, _STAGES["v9"])[mpl.rcParams["image.cmap"].removeprefix("page-")]


def figure(height: float) -> Figure:
    """A figure as wide as the page, `height` inches high."""
    return Figure(figsize=(WIDTH, height))


def heat(axes: Axes, values: Tensor, largest: float | None = None, smallest: float = 0.0) -> AxesImage:
    """A matrix, (rows, columns), its first row at the top."""
    rows, columns = values.shape
    image = axes.imshow(
        values.detach().numpy(),
        vmin=smallest,
        vmax=largest,
        extent=(0, columns, rows, 0),
        interpolation="none",
        cmap=mpl.rcParams["image.cmap"] + ("-signed" if smallest < 0 else ""),
    )
    axes.spines[:].set(visible=True, alpha=0.3)
    axes.tick_params(length=0)
    return image


def label_cells(axes: Axes, x: Sequence[str] | None = None, y: Sequence[str] | None = None, **style: Any) -> None:
    """Name the columns and the rows of a heat map."""
    if x is not None:
        axes.set_xticks([i + 0.5 for i in range(len(x))], x, **style)
    if y is not None:
        axes.set_yticks([i + 0.5 for i in range(len(y))], y, **style)


def visible(text: str) -> list[str]:
    """The characters of a text, with signs for the blank ones."""
    return [{" ": "␣", "\n": "↵"}.get(character, character) for character in text]


def tokenizer_of(run: TrainedRun) -> TextTokenizer:
    """The tokenizer of a run that continues a text."""
    assert isinstance(run.task, Continuation)
    return run.task.tokenizer
