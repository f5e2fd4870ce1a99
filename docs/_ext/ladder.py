"""What the site makes of the Markdown: pictures in the colours of its theme, measured losses, and live stages."""

import html
import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from course_runs import train_stale
from docutils import nodes
from docutils.parsers.rst import directives
from live_stages import write_live
from pictures import EMPTY, GUESSED, PICTURES, draw_stale
from quoting import RESULTS, results
from seeds import Seeds, figure
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from value_graph import figure as value_graph

from gpt.base.ladder import LADDER

# Parts of the Markdown that are more on the site; docs/quoting.py says how they are written.
_PART = re.compile(
    r"^<!-- (?P<name>picture|results|seeds|live|ladder|graph)(?:: (?P<argument>\S+)(?P<options>.*))? -->\n"
    r"(?P<first>.*\n)(?P<rest>(?:.*\n)*?)<!-- end -->$",
    re.MULTILINE,
)
_CONTENTS = re.compile(r"^<!--\n(```\{toctree\}\n.*?\n```)\n-->$", re.MULTILINE | re.DOTALL)
_PHRASE = re.compile(r"\*\*(?P<said>[^*]+)\*\*<!-- show: (?P<words>.*?) -->")
_ALT = re.compile(r'alt="([^"]*)"')
_RUNG = re.compile(r"^\| \[(?P<stage>\w+)\]\((?P<page>\S+)\.md\) \| (?P<adds>.+) \| (?P<loss>[\d.]+) \|$", re.MULTILINE)
# In the contents of the site, which are the theme's: a group with a caption, and the link to a stage.
_GROUP = re.compile(
    r'<p class="caption" role="heading"><span class="caption-text">(.*?)</span></p>\n(<ul.*?</ul>)', re.DOTALL
)
_TO_STAGE = re.compile(r"(?<=<a )(?=[^>]*>(v\d\w*): )")


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
            if name in GUESSED:  # guesses.js shows it first
                file = f"/_generated/pictures/{name}-empty-{theme}.svg"
                figure += nodes.image(
                    uri=file, alt="The empty axes of this picture", classes=["empty", f"only-{theme}"]
                )
        caption = nodes.caption()
        for paragraph in self.parse_content_to_nodes():
            caption += paragraph.children
        figure += caption
        return [figure]


class Results(SphinxDirective):
    """:::{results} STAGE: the documented and the measured loss, from docs/lab/results.md, and each seed's."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """A list of fields, and a figure."""
        self.env.note_dependency(str(RESULTS))
        row = results(self.arguments[0])
        fields: dict[str, list[nodes.Node]] = {
            "Documented": [nodes.Text(row["said"])],
            # course.js compares a guess with it
            "Measured": [nodes.strong(text=row["mean"]), nodes.Text(f" {row['spread']}, on the validation split")],
            "Exact": [nodes.Text(f"{row['exact']}, every character of that split once")],
            "Verdict": [nodes.Text(row["verdict"])],
        }
        block = nodes.field_list(classes=["results"])
        for name, value in fields.items():
            body = nodes.field_body("", nodes.paragraph("", "", *value))
            block += nodes.field("", nodes.field_name(text=name), body)
        return [block, nodes.raw("", figure(self.arguments[0]), format="html")]


class Live(SphinxDirective):
    """:::{live} STAGE: the stage in the reader's browser, if this build of the site made the live page.

    Two, as STAGE,STAGE, read the same prompt.

    The content says what to look at. With `:payoff:`, all but the idea of the stage, or of the one that it
    names, is folded; with `:train:`, the card that trains the stage is not folded; with `:first:`,
    there is nothing else until the reader looks inside; with `:sampling:`, there are all options of sampling.
    `:prompt:` is the text that it begins with, and the others are what TextPanel.open of page/panel.js shows of it.
    """

    required_arguments, has_content = 1, True
    option_spec = (
        dict.fromkeys(("train", "first", "sampling"), directives.flag)
        | dict.fromkeys(("prompt", "at", "open", "layer", "head", "step", "off"), directives.unchanged_required)
        | {"payoff": directives.unchanged}
    )

    def run(self) -> list[nodes.Node]:
        """The content and a frame, or nothing."""
        page = Path(self.env.srcdir, "_generated", "static", "live", "index.html")
        self.env.note_dependency(str(page))
        if not page.exists():
            return []
        stages, trains = self.arguments[0].split(","), "train" in self.options
        flags = [name for name, value in self.options.items() if value is None]
        flags += [f"payoff={payoff}"] if (payoff := self.options.pop("payoff", None)) is not None else []
        query = "&amp;".join(["embed", *flags])
        address = "../" * self.env.docname.count("/") + f"_static/live/index.html?{query}#{','.join(stages)}"
        for name, value in self.options.items():
            address += "" if value is None else f"&amp;{name}={quote(value)}"
        title = f"{' beside '.join(stages)} in your browser, {'to train' if trains else 'trained'}"
        frame = f'<iframe class="live" src="{address}" title="{title}" loading="lazy"></iframe>'
        said = self.parse_content_to_nodes()
        note = [nodes.container("", *said, classes=["live-note"])] if said else []
        return [*note, nodes.raw("", frame, format="html")]


def _prepare(app: Sphinx) -> None:
    """Train, draw and export what is missing or has changed."""
    generated = Path(app.srcdir) / "_generated"
    runs = train_stale(generated / "runs")
    draw_stale(runs, generated / "pictures", PICTURES | EMPTY)
    write_live(runs, generated / "static" / "live")


def _read(_app: Sphinx, _docname: str, source: list[str]) -> None:
    """Make directives of the parts of the Markdown that are more on the site."""
    text = _PHRASE.sub(_phrase, _CONTENTS.sub(r"\1", source[0]))
    source[0] = _PART.sub(_directive, text)


def _phrase(phrase: re.Match[str]) -> str:
    """Bold text that linked.js makes a button, which shows something in the live stage."""
    shown = urlencode(dict(word.split("=", 1) for word in shlex.split(phrase["words"])))
    return f'<b data-show="{html.escape(shown)}">{phrase["said"]}</b>'


def _directive(part: re.Match[str]) -> str:
    if part["name"] == "ladder":
        return _ladder(part["rest"])
    if part["name"] == "graph":
        return value_graph()
    words = (word.partition("=") for word in shlex.split(part["options"] or ""))
    lines = [f"::::{{{part['name']}}} {part['argument']}", *(f":{name}: {value}" for name, _, value in words)]
    if part["name"] == "picture":
        lines += [f":alt: {html.unescape(alt)}" for alt in _ALT.findall(part["first"])]
    if part["name"] in ("picture", "live"):
        lines += ["", part["rest"].strip()]
    return "\n".join([*lines, "::::"])


def _ladder(table: str) -> str:
    """The stages, each a link with a bar as long as its loss; progress.js makes it the reader's record."""
    rungs = list(_RUNG.finditer(table))
    highest = max(float(rung["loss"]) for rung in rungs)
    rows = "".join(
        f'<a href="{rung["page"]}.html" style="--stage: var(--{rung["stage"]})"><b>{rung["stage"]}</b> '
        f'<span>{rung["adds"]}</span> <span class="loss">{rung["loss"]}</span> '
        f'<i style="width: {100 * float(rung["loss"]) / highest:.1f}%"></i></a>'
        for rung in rungs
    )
    lead = "<p>Each stage adds one idea. The shorter its bar, the lower its loss.</p>"
    return f'<nav class="ladder" aria-label="The ladder">{lead}{rows}</nav>'


def _in_context(_app: Sphinx, page: str, _template: str, context: dict[str, Any], _doctree: nodes.document) -> None:
    """The colour of a stage's page, and in the contents those of all stages, and groups that fold."""
    stage = page.removeprefix("course/")
    if stage in LADDER:
        context |= {"stage": stage, "rung": LADDER.index(stage) + 1}
    if page == "index":
        context["furo_hide_toc"] = True  # the ladder stands there

    def fold(group: re.Match[str]) -> str:
        is_open = group.start() == 0 or "current" in group[2]
        return f"<details{' open' * is_open}><summary>{group[1]}</summary>{group[2]}</details>"

    folded = _GROUP.sub(fold, context["furo_navigation_tree"])
    context["furo_navigation_tree"] = _TO_STAGE.sub(r'style="--stage: var(--\1)" ', folded)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("builder-inited", _prepare)
    app.connect("source-read", _read)
    app.connect("html-page-context", _in_context, priority=900)  # after the theme
    app.add_directive("picture", Picture)
    app.add_directive("results", Results)
    app.add_directive("seeds", Seeds)
    app.add_directive("live", Live)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
