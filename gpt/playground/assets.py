"""The page's files, for the server and for the static page, and the policy on what they may load."""

import json
import mimetypes
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpt.base.installation import TINY_SHAKESPEARE
from gpt.config.command_schemas import SamplingConfig, Slider, TextField

# What the page may load: nothing from elsewhere. Plot writes a <style> into its pictures.
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
)

# The limits of what the page's fields take, which the server checks again.
LONGEST_PROMPT = 1000  # characters
MOST_TOKENS = 1000  # generated
MOST_BEAMS = 10
LARGEST_LENGTH_PENALTY = 5

_PAGE = Path(__file__).parent / "page"
_TYPES = {".js": "text/javascript", ".txt": "text/plain"}  # instead of the system's own table
# Attributes of the fields of page/index.html, by their ids.
_LIMITS = {
    "prompt": {"maxLength": LONGEST_PROMPT},
    "tokens": {"max": MOST_TOKENS},
    "beam": {"max": MOST_BEAMS},
    "length-penalty": {"max": LARGEST_LENGTH_PENALTY},
}


def files() -> dict[str, bytes]:
    """Every file of the page, by its path below the page's address, with tiny Shakespeare to train on."""
    found = {path.relative_to(_PAGE).as_posix(): path.read_bytes() for path in _PAGE.rglob("*") if path.is_file()}
    controls = json.dumps({"sampling": sampling_options(), "limits": _LIMITS}).encode()
    return found | {"texts/shakespeare.txt": TINY_SHAKESPEARE.read_bytes(), "controls.json": controls}


def media_type(path: str) -> str:
    """The MIME type of a file."""
    return _TYPES.get(Path(path).suffix) or mimetypes.guess_type(path)[0] or "application/octet-stream"


def sampling_options() -> list[dict[str, Any]]:
    """The options of sampling with their controls and help, from which page/controls.js makes its list."""
    return [
        {"name": name, "help": field.description, "default": field.default} | asdict(control)
        for name, field in SamplingConfig.model_fields.items()
        for control in field.metadata
        if isinstance(control, Slider | TextField)
    ]
