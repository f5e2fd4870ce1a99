"""Where the project is: a clone, or an installed package; and where its data is."""

import os
from pathlib import Path

from gpt.base.paths import expanded

_PACKAGE = Path(__file__).parent.parent
_CLONE = _PACKAGE.parent
IS_CLONE = (_CLONE / "conf" / "train.yaml").is_file()
_ROOT = _CLONE if IS_CLONE else _PACKAGE
CONF = _ROOT / "conf"
TINY_SHAKESPEARE = _ROOT / "data" / "tinyshakespeare.txt"
PLAIN = _ROOT / "plain"


def data_folder() -> str:
    """The folder of downloaded corpora."""
    return expanded(os.environ.get("GPT_DATA_DIR", "data"))


def installing(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install -e '.[{extra}]'" if IS_CLONE else f"pip install 'gpt-ladder[{extra}]'"
