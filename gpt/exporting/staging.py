"""A folder that appears under its name only once it is complete."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpt.base.errors import RequestError
from gpt.base.files import check_below_folder


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `out` at the end; after an error, it is removed.

    Raises RequestError if `out` exists, or is inside a file.
    """
    check_below_folder(out.parent)
    if os.path.lexists(out):
        raise RequestError(f"{out} already exists: remove it, or choose another folder with out=FOLDER")
    nearest = next(parent for parent in out.absolute().parents if parent.is_dir())
    with tempfile.TemporaryDirectory(prefix=f".{out.name[:100]}.", dir=nearest) as temporary:
        folder = Path(temporary, "new")
        folder.mkdir()
        yield folder
        out.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(out)
