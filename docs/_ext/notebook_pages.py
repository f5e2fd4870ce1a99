"""The notebooks as pages of the site: their text, code and stored outputs, with links to get them and to open them.

Without a library that runs notebooks: docs/outputs.py has stored the outputs.
"""

import base64
import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from myst_parser.parsers.sphinx_ import MystParser
from notebook_cells import repository
from sphinx.application import Sphinx

_TO_FOLDERS = re.compile(r"\[([^]]+)\]\([./\w]+/\)")  # which are no pages of the site


class NotebookParser(MystParser):
    """Reads a notebook as the Markdown page that it amounts to."""

    supported = ("ipynb",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        """Write the pictures beside those of the other pages, and parse the rest."""
        path = Path(document["source"])
        pictures = Path(document.settings.env.srcdir, "_generated", "notebooks")
        page, drawn = as_markdown(json.loads(inputstring), path.stem, repository())
        pictures.mkdir(parents=True, exist_ok=True)
        for name, content in drawn.items():
            (pictures / name).write_bytes(content)
        super().parse(page, document)


def as_markdown(notebook: dict[str, Any], name: str, address: str | None) -> tuple[str, dict[str, bytes]]:
    """A notebook as MyST, and its pictures by file name. `address` is the repository's, if it is known."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(_TO_FOLDERS.sub(r"\1", source))
            continue
        parts.append(_fenced("python", source))
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                file = f"{name}-{len(pictures) + 1}.png"
                pictures[file] = base64.b64decode("".join(data["image/png"]))
                parts.append(f"![what the code above draws](/_generated/notebooks/{file})")
            else:
                parts.append(_fenced("text", "".join(output.get("text", data.get("text/plain", "")))))
    title, _, rest = parts[0].partition("\n")
    links = f"[Download this notebook](path:/notebooks/{name}.ipynb){_in_colab(name, address)}"
    return "\n\n".join([title, links, rest, *parts[1:]]), pictures


def _fenced(language: str, text: str) -> str:
    fence = "```" if "```" not in text else "~~~~"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _in_colab(name: str, address: str | None) -> str:
    if address is None:
        return ""
    place = address.replace("https://github.com/", "https://colab.research.google.com/github/")
    return f", [open it in Colab]({place}/blob/main/docs/notebooks/{name}.ipynb)"


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_source_suffix(".ipynb", "ipynb")
    app.add_source_parser(NotebookParser)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
