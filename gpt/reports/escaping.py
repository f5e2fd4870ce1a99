"""Text from run folders in documents: a stranger's text stays literal in Markdown, a spreadsheet or a picture."""

import html
import re

from gpt.base.errors import printable

# Characters with a meaning in a line of Markdown.
_MARKDOWN = re.compile(r"[\\`*_\[\]()#|~!$]")
# GitHub makes a link of an address with these characters even if they are escaped, but not if they are code. They are
# matched together: two adjacent pieces of code would be one.
_OF_ADDRESS = re.compile(r"(@|(?<=www)\.|:(?=//))+", re.IGNORECASE)
_FORMULA = re.compile(r"[=@]|[+-](?!\d*\.?\d+(e[+-]?\d+)?$)")  # but not a number


def markdown(text: object) -> str:
    """Literal text of Markdown on one line, in a table too: no link, no emphasis, no HTML."""
    escaped = html.escape(_MARKDOWN.sub(r"\\\g<0>", printable(str(text))), quote=False)
    return _OF_ADDRESS.sub(r"`\g<0>`", escaped)


def csv_cell(value: object) -> object:
    """A cell that no spreadsheet reads as a formula; numbers stay as they are."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if _FORMULA.match(text) else text


def label(text: str) -> str:
    """Text in a picture, where matplotlib would read formulas between dollar signs."""
    return printable(text).replace("$", "\\$")
