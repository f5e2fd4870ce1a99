"""Pictures as files."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from gpt.base.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def png(figure: "Figure") -> bytes:
    """A picture as the content of a file."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120, format="png")
    return picture.getvalue()


def write_png(path: Path, figure: "Figure") -> None:
    """Save a picture, like `write_atomically`."""
    write_atomically(path, png(figure))
