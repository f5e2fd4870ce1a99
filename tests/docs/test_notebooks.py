"""The notebooks in docs/notebooks: with outputs in git, and executed from top to bottom as a reader would."""

import importlib
import itertools
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.extras import require_extra

require_extra("dev")

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from docs.notebook_cells import exercise_cells, repository, with_colab
from exercises.checks import EXERCISES
from gpt.base.errors import UserError
from gpt.data.corpora import multi30k
from tests.conftest import DATA, REPOSITORY

FOLDER = REPOSITORY / "docs" / "notebooks"
TAUGHT = ["ladder.ipynb", "transformer.ipynb"]  # with pictures and stated results
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
ROUNDING = 0.03  # nats, by which a result may differ from what the text calls "about"
DOCUMENTED_RUN = re.compile(r'fit\("(v\w+)", "model=\1"(?=\))')
SHORTER = "training.max_iters=200"


def cells(name: str, kind: str) -> list[NotebookNode]:
    return [cell for cell in nbformat.read(FOLDER / name, as_version=4).cells if cell.cell_type == kind]


def printed(cell: NotebookNode) -> str:
    return "".join(output.text for output in cell.outputs if output.get("name") == "stdout")


def stated(notebook: NotebookNode) -> Iterator[tuple[NotebookNode, float]]:
    """The cells of code that are followed by a text that begins with "About N", with N."""
    for cell, after in itertools.pairwise(notebook.cells):
        about = re.match(r"About (\d+\.\d+)", after.source)
        if cell.cell_type == "code" and about:
            yield cell, float(about[1])


def documented_runs() -> dict[str, float]:
    """The validation losses that the ladder's notebook states of runs with the documented settings and seed 1."""
    losses = stated(nbformat.read(FOLDER / "ladder.ipynb", as_version=4))
    return {run[1]: loss for cell, loss in losses if (run := DOCUMENTED_RUN.search(cell.source))}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_committed_with_its_outputs(name: str) -> None:
    notebook = nbformat.read(FOLDER / name, as_version=4)
    pictures = sum("image/png" in output.get("data", {}) for cell in cells(name, "code") for output in cell.outputs)
    assert (pictures >= 8) == (check_what_is_about(notebook) > 0) == (name in TAUGHT)
    for cell in cells(name, "code"):
        assert cell.execution_count is None
        assert cell.metadata == {}
        assert all(output.get("name") != "stderr" for output in cell.outputs)
        assert "print(" not in cell.source.splitlines()[-1] or printed(cell), cell.source
        assert not re.search(r"\d seconds|tokens/s|/home/|/root/|/tmp/", printed(cell))
    links = re.findall(r"\]\((?!http)([^)#]+)", "\n".join(cell.source for cell in cells(name, "markdown")))
    assert links
    assert [link for link in links if not (FOLDER / link).exists()] == []


def test_the_notebook_of_exercises_has_their_files() -> None:
    stored = nbformat.read(FOLDER / "exercises.ipynb", as_version=4).cells
    made = with_colab(exercise_cells(), repository())
    assert [(cell.id, cell.source) for cell in stored] == [(cell["id"], cell["source"]) for cell in made]
    answers = {cell.id.removesuffix("-check"): cell for cell in stored if cell.id.endswith("-check")}
    assert list(answers) == list(EXERCISES)
    for cell in answers.values():
        (answer,) = cell.outputs
        assert "still to fill in" in answer.data["text/plain"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_fetches_the_repository_on_colab(name: str) -> None:
    stored = nbformat.read(FOLDER / name, as_version=4).cells
    assert stored == with_colab(stored, repository())
    title, fetch, *_ = with_colab(stored, "https://github.com/owner/name")
    assert title == stored[0]
    assert '"https://github.com/owner/name", folder' in fetch["source"]
    folder, path = Path.cwd(), [*sys.path]
    exec(compile(fetch["source"], name, "exec"), {})  # not on Colab: it does nothing
    assert (Path.cwd(), sys.path) == (folder, path)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_a_page_that_leads_to_colab(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "docs"))
    monkeypatch.syspath_prepend(str(REPOSITORY / "docs" / "_ext"))
    as_markdown = importlib.import_module("notebook_pages").as_markdown
    notebook = json.loads((FOLDER / name).read_text())
    page, pictures = as_markdown(notebook, Path(name).stem, None)
    stored = nbformat.read(FOLDER / name, as_version=4).cells
    assert all(cell.source.rstrip().splitlines()[-1] in page for cell in stored)
    drawn = [cell for cell in stored for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
    assert len(pictures) == len(drawn)
    assert all(f"(/_generated/notebooks/{file})" in page for file in pictures)
    assert "colab" not in page.partition("\n## ")[0]
    page, _ = as_markdown(notebook, Path(name).stem, "https://github.com/owner/repository")
    address = f"https://colab.research.google.com/github/owner/repository/blob/main/docs/notebooks/{name}"
    assert f"[open it in Colab]({address})" in page


def executed(name: str, place: Path, changed: Callable[[str], str]) -> NotebookNode:
    """A notebook after it has run in `place`, each of its cells as `changed` returns it."""
    if "multi30k" in (FOLDER / name).read_text():
        try:
            multi30k(str(DATA), vocab_size=100)
        except UserError as error:
            pytest.skip(str(error))
    (place / "data").symlink_to(REPOSITORY / "data")  # as seen from docs/notebooks
    folder = place / "docs" / "notebooks"
    folder.mkdir(parents=True)
    notebook = nbformat.read(FOLDER / name, as_version=4)
    for cell in notebook.cells:
        cell.source = changed(cell.source)
    client = NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(folder)}})
    client.execute(env=os.environ | {"GPT_DATA_DIR": str(DATA), "PYTHONPATH": str(REPOSITORY)})
    stored = nbformat.read(FOLDER / name, as_version=4)
    for cell, kept in zip(notebook.cells, stored.cells, strict=True):
        assert shown(cell) == shown(kept), cell.source
    return notebook


def shortened(source: str) -> str:
    """A cell with its documented runs shorter: tests/release/test_reproduction.py repeats them at full length."""
    return DOCUMENTED_RUN.sub(rf'\g<0>, "{SHORTER}"', source)


def test_a_notebook_runs_with_short_settings(tmp_path: Path) -> None:
    """tests/release/test_notebooks.py runs all of them, longer."""
    executed("ladder.ipynb", tmp_path, lambda source: re.sub(r"max_iters=\d+", "max_iters=20", shortened(source)))


def shown(cell: NotebookNode) -> list[str]:
    """What kinds of output a cell has, without progress bars and warnings."""
    kinds = [
        " ".join(sorted(output.get("data", {"text": ""})))
        for output in cell.get("outputs", [])
        if output.get("name") != "stderr"
    ]
    return [kind for kind, _ in itertools.groupby(kinds)]  # what is printed may come in pieces


def check_what_is_about(notebook: NotebookNode) -> int:
    """Check that what is stated as about N is the last number that the cell printed; count them."""
    checked = 0
    for cell, about in stated(notebook):
        if SHORTER not in cell.source:
            found = re.findall(r"\d+\.\d+", printed(cell))[-1]
            assert float(found) == pytest.approx(about, abs=ROUNDING), cell.source
            checked += 1
    return checked
