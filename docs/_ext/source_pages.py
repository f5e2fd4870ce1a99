"""A page of the site for each file of the repository that a page links to.

In Markdown the link is one to the file, as in [train.py](../train.py), which also works where the repository is read.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx import addnodes
from sphinx.application import Sphinx

_REPOSITORY = Path(__file__).parents[2]


class SourceLink(nodes.General, nodes.Inline, nodes.Element):
    """A link to a file of the repository, named in `file`."""


def _collect(app: Sphinx, doctree: nodes.document) -> None:
    """Take the links to files of the repository before Sphinx makes downloads of them."""
    page = Path(app.srcdir, app.env.docname)
    links: dict[str, set[str]] = app.env.linked_sources
    links[app.env.docname] = set()
    for link in list(doctree.findall(addnodes.download_reference)):
        path = Path(os.path.normpath(page.parent / link["reftarget"]))
        if path.is_relative_to(_REPOSITORY) and path.is_file():
            name = str(path.relative_to(_REPOSITORY))
            link.replace_self(SourceLink("", *link.children, file=name))
            links[app.env.docname].add(name)


def _resolve(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for link in list(doctree.findall(SourceLink)):
        if app.builder.format == "html":
            uri = app.builder.get_relative_uri(docname, f"source/{link['file']}")
            link.replace_self(nodes.reference("", "", *link.children, internal=True, refuri=uri))
        else:
            link.replace_self(link.children)


def _pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    links: dict[str, set[str]] = app.env.linked_sources
    for name in sorted(set().union(*links.values())):
        content = (_REPOSITORY / name).read_text(encoding="utf-8")
        try:
            language = get_lexer_for_filename(name).aliases[0]
        except ClassNotFound:
            language = "text"
        code = app.builder.highlighter.highlight_block(content, language)
        yield f"source/{name}", {"title": name, "body": f"<h1><code>{name}</code></h1>\n{code}"}, "page.html"


def _prepare(app: Sphinx) -> None:
    if not hasattr(app.env, "linked_sources"):
        app.env.linked_sources = {}


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_node(SourceLink)
    app.connect("builder-inited", _prepare)
    app.connect("doctree-read", _collect, priority=100)
    app.connect("doctree-resolved", _resolve)
    app.connect("html-collect-pages", _pages)
    return {"env_version": 1, "parallel_read_safe": False}
