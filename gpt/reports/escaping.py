"""What a run folder says, in a document: a stranger's text stays text, in Markdown, in a spreadsheet, in a picture."""

import html
import re

from gpt.base.errors import printable

# What Markdown gives a meaning within a line, and the two beginnings of an address that becomes a link by itself.
_MARKDOWN = re.compile(r"[\\`*_\[\]()#|~!$@]|(?<=www)\.|:(?=//)", re.IGNORECASE)
_FORMULA = ("=", "+", "-", "@")


def markdown(text: object) -> str:
    """Literal text of Markdown on one line, in a table too: no link, no emphasis, no HTML."""
    return html.escape(_MARKDOWN.sub(r"\\\g<0>", printable(str(text))), quote=False)


def csv_cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula; numbers stay as they are."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def label(text: str) -> str:
    """Text in a picture, where matplotlib would read formulas between dollar signs."""
    return printable(text).replace("$", "\\$")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
