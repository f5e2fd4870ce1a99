"""Text from run folders in documents: a stranger's text stays literal in Markdown, a spreadsheet or a picture."""

import html
import re

from gpt.base.errors import printable

# What has a meaning within a line of Markdown, and the two prefixes that turn an address into a link.
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
