"""Pictures as files."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from gpt.base.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")


def picture(figure: "Figure", kind: str = "png") -> bytes:
    """A picture as the content of a file of one of the FORMATS."""
    content = io.BytesIO()
    figure.savefig(content, dpi=120, format=kind)
    return content.getvalue()


def write_picture(path: Path, figure: "Figure") -> None:
    """Save a picture in the format that its name ends with, like `write_atomically`."""
    write_atomically(path, picture(figure, path.suffix[1:].lower()))
