"""Pictures as files."""

import io
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from gpt.base.errors import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")

log = logging.getLogger(__name__)


def is_picture(path: Path) -> bool:
    """Whether a path has the extension of a picture."""
    return path.suffix.lower() in FORMATS


def picture(figure: "Figure", kind: str = "png") -> bytes:
    """A picture as the content of a file. Matplotlib's first warning, such as a missing glyph, is logged."""
    content = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        figure.savefig(content, dpi=120, format=kind)
    if caught:
        log.warning(f"the picture: {printable(str(caught[0].message))}")
    return content.getvalue()
