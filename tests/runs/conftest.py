"""What the tests of run folders share."""

import shutil
from pathlib import Path

import pytest

from gpt.runs.folder import RunFolder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> RunFolder:
    """A finished run that a test may damage."""
    (original,) = (trained / "runs").glob("*/*")
    return RunFolder(shutil.copytree(original, tmp_path / "run"))
