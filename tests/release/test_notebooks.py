"""The notebooks, executed from top to bottom as a reader would; the results that they state come out."""

from pathlib import Path

import pytest

from tests.docs.test_notebooks import NOTEBOOKS, TAUGHT, check_what_is_about, executed, shortened


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_from_top_to_bottom(name: str, tmp_path: Path) -> None:
    notebook = executed(name, tmp_path, shortened)
    assert (check_what_is_about(notebook) > 0) == (name in TAUGHT)
