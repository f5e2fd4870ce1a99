"""Lines of code as elements, with their comments apart, so that course.css can break the long ones legibly."""

import re
from collections.abc import Iterator
from typing import Any

from pygments.formatters import HtmlFormatter
from sphinx.application import Sphinx
from sphinx.highlighting import PygmentsBridge

_BEFORE_COMMENT = re.compile(r'(?<=\S  )(?=<span class="c1">)')
_NOT_SHOWN = re.compile(r"<[^>]+>|(?<=&)\w+;")
_INDENT = re.compile(r"[-+]? *")  # in a difference, behind the sign
_COLUMN = 28  # characters: a comment that has fewer beside its code stands below it


class Lines(HtmlFormatter):
    """HTML of code, line by line."""

    def wrap(self, source: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
        """Make each line an element."""
        return super().wrap((is_code, _line(text) if is_code else text) for is_code, text in source)


def _line(text: str) -> str:
    code, *comment = _BEFORE_COMMENT.split(text.removesuffix("\n"))
    indent = len(_INDENT.match(_NOT_SHOWN.sub("", code))[0])  # type: ignore[index]
    parts = f"<span>{code}</span>"
    for said in comment:
        width = min(len(_NOT_SHOWN.sub("", said)), _COLUMN)
        parts += f'<span class="comment" style="flex-basis: {width}ch">{said}</span>'
    return f'<span class="line" style="--indent: min({indent}ch, 30vw)">{parts}\n</span>'


def setup(_app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    PygmentsBridge.html_formatter = Lines
    return {"parallel_read_safe": True, "parallel_write_safe": True}
