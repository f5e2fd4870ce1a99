"""Pictures as files: in a font that has their characters, and sealed, so that no other picture is ever replaced."""

import contextlib
import hashlib
import io
import logging
import os
import re
import sys
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from gpt.base.errors import RequestError, UserError, printable
from gpt.base.files import checked_file, write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
_END_OF_PNG = 12  # bytes of its last chunk, before which the seal is
_GLYPH = re.compile(r"Glyph (\d+) .* missing from font|Matplotlib currently does not support \w+ natively")
_MOST_NAMED = 10  # characters in a warning

log = logging.getLogger(__name__)


def is_picture(path: Path) -> bool:
    """Whether a path ends as a picture does."""
    return path.suffix[1:].lower() in FORMATS


def picture(figure: "Figure", kind: str = "png") -> bytes:
    """A picture as the content of a file of one of the FORMATS.

    What the figure's font lacks is drawn in other installed fonts; a warning says what none of them has.
    """
    content, lacking = _saved(figure, kind)
    if lacking:
        from matplotlib.text import Text

        families = _families_with(lacking)
        for text in figure.findobj(Text):
            assert isinstance(text, Text)
            text.set_fontfamily([*text.get_fontfamily(), *families])
        content, lacking = _saved(figure, kind)
    if lacking:
        named = printable("".join(sorted(lacking)[:_MOST_NAMED])) + ("…" if len(lacking) > _MOST_NAMED else "")
        log.warning(
            f"the picture has boxes for {named}: no installed font has them; one from fonts.google.com/noto does"
        )
    return content


def _saved(figure: "Figure", kind: str) -> tuple[bytes, set[str]]:
    """The content of the file, and the characters that the fonts lack."""
    content = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", _GLYPH.pattern)
        figure.savefig(content, dpi=120, format=kind)
    lacking = set()
    for warning in caught:
        if (found := _GLYPH.match(str(warning.message))) is None:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        elif found[1]:
            lacking.add(chr(int(found[1])))
    return content.getvalue(), lacking


def _families_with(characters: set[str]) -> list[str]:
    """Installed fonts that have these characters between them, as far as there are any; few, and plain ones first."""
    from matplotlib import font_manager

    manager = font_manager.fontManager
    known = {os.path.realpath(font.fname) for font in manager.ttflist}
    for path in font_manager.findSystemFonts():
        if os.path.realpath(path) not in known:  # installed since Matplotlib's cache was written
            with contextlib.suppress(Exception):  # whatever it says of a file that is no font
                manager.addfont(path)
    fonts = sorted(manager.ttflist, key=lambda f: (f.style != "normal", f.weight != 400, "Sans" not in f.name))
    plainest = {font.name: font.fname for font in reversed(fonts)}
    has = {name: _drawable(path, characters) for name, path in reversed(plainest.items())}
    families: list[str] = []
    while any(has.values()):
        name = max(has, key=lambda name: len(has[name]))
        families.append(name)
        found = has[name]
        has = {name: others - found for name, others in has.items()}
    return families


def _drawable(path: str, characters: set[str]) -> set[str]:
    """Those of the characters that a font has and Matplotlib can draw, which cannot draw pictures in colour."""
    from matplotlib.font_manager import get_font

    if "lastresort" in Path(path).name.lower():  # a fallback font, in which every glyph is a box
        return set()
    try:
        font = get_font(path)
        found = {character for character in characters if ord(character) in font.get_charmap()}
        if found:
            font.set_size(10, 100)
            font.set_text("".join(found))
    except (OSError, RuntimeError, ValueError):
        return set()
    return found


def write_picture(path: Path, figure: "Figure", writer: str) -> None:
    """Save a picture in the format that its name ends with, like `write_atomically`, sealed by the script `writer`.

    Raises RequestError as `check_replaceable` does.
    """
    check_replaceable(path, writer)
    kind = path.suffix[1:].lower()
    write_atomically(path, _sealed(picture(figure, kind), kind, writer))


def check_replaceable(path: Path, writer: str, digest: str | None = None) -> None:
    """Raise RequestError if there is something at `path` that this script has not written, or that was changed since.

    `digest` is the SHA-256 of a file that has no seal.
    """
    if not os.path.lexists(path):
        return
    with contextlib.suppress(UserError, OSError):
        content = checked_file(path, sys.maxsize).read_bytes()
        kind = path.suffix[1:].lower()
        if digest == hashlib.sha256(content).hexdigest() or (is_picture(path) and _is_sealed(content, kind, writer)):
            return
    raise RequestError(
        f"{path} is not as {writer} has written it, and is not replaced: move it, or choose another place"
    )


def _is_sealed(content: bytes, kind: str, writer: str) -> bool:
    end = len(content) - (_END_OF_PNG if kind == "png" else 0)
    begin = end - len(_seal(b"", kind, writer))
    return begin > 0 and content == _sealed(content[:begin] + content[end:], kind, writer)


def _sealed(content: bytes, kind: str, writer: str) -> bytes:
    """A picture with a comment near its end that programs skip: who wrote it, and the SHA-256 of the rest."""
    end = len(content) - (_END_OF_PNG if kind == "png" else 0)
    return content[:end] + _seal(content, kind, writer) + content[end:]


def _seal(content: bytes, kind: str, writer: str) -> bytes:
    words = f"written by {writer} of gpt-ladder, sha256 {hashlib.sha256(content).hexdigest()}".encode()
    if kind == "png":
        chunk = b"tEXtComment\0" + words
        return (len(chunk) - 4).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4)
    return b"<!-- " + words + b" -->\n" if kind == "svg" else b"% " + words + b"\n"
