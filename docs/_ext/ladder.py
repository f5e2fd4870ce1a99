"""Directives for the pages of the course: pictures, measured losses, diffs between stages, live stages."""

import ast
import difflib
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from captions import restated, statements
from course_runs import train_missing
from docutils import nodes
from docutils.parsers.rst import directives
from live_stages import write_live
from pictures import draw_stale
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

from gpt.base.files import write_atomically
from gpt.base.ladder import SMALL

_REPOSITORY = Path(__file__).parents[2]
_RESULTS = _REPOSITORY / "docs" / "results.md"
_FOR_OTHER_READERS = re.compile(r"^> \*GitHub shows this page without .*\*\n\n", re.MULTILINE)


class Picture(SphinxDirective):
    """:::{picture} NAME, with a caption and an :alt:: a picture of docs/pictures, in the colours of the theme."""

    required_arguments = 1
    has_content = True
    option_spec = {"alt": directives.unchanged_required}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """The figure."""
        (name,), figure = self.arguments, nodes.figure(classes=["picture"])
        for theme in ("light", "dark"):
            file = f"/_generated/pictures/{name}-{theme}.svg"
            figure += nodes.image(uri=file, alt=self.options["alt"], classes=[f"only-{theme}"])
        caption = nodes.caption()
        for paragraph in _restated(self, name):
            caption += paragraph.children
        figure += caption
        return [figure]


def _restated(directive: SphinxDirective, name: str) -> list[nodes.Node]:
    """The content, with what docs/captions.py states under a name."""
    stated = Path(directive.env.srcdir, "_generated", "captions.json")
    directive.env.note_dependency(str(stated))
    phrases = json.loads(stated.read_text(encoding="utf-8")).get(name, [])
    return directive.parse_text_to_nodes(restated("\n".join(directive.content), phrases))


class Results(SphinxDirective):
    """:::{results} STAGE: the documented and the measured loss, from the table in docs/results.md."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """A list of fields."""
        self.env.note_dependency(str(_RESULTS))
        row = results(self.arguments[0])
        kind = ", of one training mini-batch" if row["documented"].endswith("*") else ""
        mean, _, deviation = row["measured"].partition(" ")
        spread = f" {deviation} on the validation split, mean and deviation of {row['seeds']} seeds"
        documented = "none" if row["documented"] == "-" else row["documented"].rstrip(" *") + kind
        fields: dict[str, list[nodes.Node]] = {
            "Documented": [nodes.Text(documented)],
            "Measured": [nodes.strong(text=mean), nodes.Text(spread)],  # course.js compares a guess with it
            "Exact": [nodes.Text(f"{row['exact']}, every character of that split once")],
            "Verdict": [nodes.Text(row["verdict"])],
        }
        block = nodes.field_list(classes=["results"])
        for name, value in fields.items():
            body = nodes.field_body("", nodes.paragraph("", "", *value))
            block += nodes.field("", nodes.field_name(text=name), body)
        return [block]


class Ladder(SphinxDirective):
    """:::{ladder}: the stages that have a row in docs/results.md, with what each adds and its losses."""

    def run(self) -> list[nodes.Node]:
        """A table."""
        self.env.note_dependency(str(_RESULTS))
        lines = ["| stage | adds | documented | measured |", "|---|---|---|---|"]
        for stage in SMALL:
            row = results(stage)
            conf = _REPOSITORY / "conf" / "model" / f"{stage}.yaml"
            adds = yaml.safe_load(conf.read_text(encoding="utf-8"))["adds"]
            measured = row["measured"].partition(" ")[0]
            lines.append(f"| [{stage}](/course/{stage}.md) | {adds} | {row['documented']} | {measured} |")
        return self.parse_text_to_nodes("\n".join(lines))


def results(stage: str) -> dict[str, str]:
    """The row of a stage in the first table of docs/results.md, by column."""
    rows = [
        [cell.strip() for cell in line.strip("|\n").split("|")]
        for line in _RESULTS.read_text(encoding="utf-8").splitlines()
        if line.startswith("|")
    ]
    for row in rows:
        if row[0] == stage:
            return dict(zip(rows[0], row, strict=True))
    raise ExtensionError(f"docs/results.md has no row of {stage}")


class StageDiff(SphinxDirective):
    """:::{stage-diff} BELOW ABOVE: what changes from one module of gpt/models to another, without their docstrings."""

    required_arguments = 2

    def run(self) -> list[nodes.Node]:
        """The diff."""
        below, above = (_REPOSITORY / "gpt" / "models" / f"{name}.py" for name in self.arguments)
        self.env.note_dependency(str(below))
        self.env.note_dependency(str(above))
        lines = difflib.unified_diff(_code(below), _code(above), below.name, above.name, lineterm="")
        block = nodes.literal_block("", "\n".join(lines), language="diff", classes=["stage-diff"])
        return [block]


def _code(path: Path) -> list[str]:
    """The lines of a module after its docstring."""
    text = path.read_text(encoding="utf-8")
    docstring = ast.parse(text).body[0]
    return text.splitlines()[docstring.end_lineno or 0 :]


class Live(SphinxDirective):
    """:::{live} STAGE: the stage in the reader's browser, if this build of the site made the live page; or two, STAGE
    STAGE, which read the same prompt.

    The content says what to look at. With `:train:`, the card that trains the stage comes first; `:prompt:` is the text
    that it begins with.
    """

    required_arguments, optional_arguments, has_content = 1, 1, True
    option_spec = {"train": directives.flag, "prompt": directives.unchanged_required}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """The content and a frame, or nothing."""
        page = Path(self.env.srcdir, "_generated", "static", "live", "index.html")
        self.env.note_dependency(str(page))
        if not page.exists():
            return []
        trains = "train" in self.options
        query = "embed&amp;train" if trains else "embed"
        address = "../" * self.env.docname.count("/") + f"_static/live/index.html?{query}#{','.join(self.arguments)}"
        if "prompt" in self.options:
            address += f"&amp;prompt={quote(self.options['prompt'])}"
        title = f"{' beside '.join(self.arguments)} in your browser, {'to train' if trains else 'trained'}"
        frame = f'<iframe class="live" src="{address}" title="{title}" loading="lazy"></iframe>'
        note = nodes.container("", *_restated(self, "-".join(["live", *self.arguments])), classes=["live-note"])
        return [note, nodes.raw("", frame, format="html")]


class Notebooks(SphinxDirective):
    """:::{notebooks}: links to the notebooks of docs/notebooks, if there are any."""

    def run(self) -> list[nodes.Node]:
        """A list of links, or nothing."""
        found = sorted(Path(self.env.srcdir, "notebooks").glob("*.ipynb"))
        text = "\n".join(f"- [{path.name}](/notebooks/{path.name})" for path in found)
        return self.parse_text_to_nodes(text) if found else []


def _prepare(app: Sphinx) -> None:
    """Train the runs that are missing, draw the pictures, and write the live stages."""
    generated = Path(app.srcdir) / "_generated"
    runs = train_missing(generated / "runs")
    draw_stale(runs, generated / "pictures")
    write_atomically(generated / "captions.json", json.dumps(statements(runs)).encode())
    write_live(runs, generated / "static" / "live")


def _read(_app: Sphinx, _docname: str, source: list[str]) -> None:
    """Leave out the line for those who read the Markdown itself, where directives are empty boxes."""
    source[0] = _FOR_OTHER_READERS.sub("", source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("builder-inited", _prepare)
    app.connect("source-read", _read)
    app.add_directive("picture", Picture)
    app.add_directive("results", Results)
    app.add_directive("ladder", Ladder)
    app.add_directive("stage-diff", StageDiff)
    app.add_directive("live", Live)
    app.add_directive("notebooks", Notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
