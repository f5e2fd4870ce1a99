"""MathJax as one file of the site, so that a reader's browser fetches nothing from elsewhere.

The file comes with the package sphinx-mathjax-offline, and is that of MathJax 3.2.2, which its hash shows.
"""

import hashlib
import shutil
from importlib.metadata import distribution
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError

_FILE = "sphinx-mathjax-offline/static/mathjax/tex-svg.js"  # with its fonts in it
_SHA256 = "d4295dc33744836935c1399feece5159577b34c5c8ffb9f1c6324cd82e03a882"


def _copy(app: Sphinx, _config: Config) -> None:
    source = Path(str(distribution("sphinx-mathjax-offline").locate_file(_FILE)))
    if hashlib.sha256(source.read_bytes()).hexdigest() != _SHA256:
        raise ExtensionError(f"{source} is not MathJax 3.2.2: install sphinx-mathjax-offline==0.0.2 again")
    folder = Path(app.srcdir) / "_generated" / "static"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, folder / "mathjax.js")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("config-inited", _copy, priority=100)  # before Sphinx looks for the folder
    return {"parallel_read_safe": True, "parallel_write_safe": True}
