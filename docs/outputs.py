"""Run a notebook and store its outputs in it, without what changes from run to run.

    python docs/outputs.py docs/notebooks/ladder.ipynb

The cells of exercises.ipynb are made anew from the files in exercises/. A notebook begins with a cell for Colab if the
repository's address is known.
"""

import argparse
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

_DOCS = Path(__file__).parent
sys.path[:0] = [str(_DOCS.parent), str(_DOCS)]  # exercises, and the modules beside this one

from notebook_cells import exercise_cells, repository, with_colab  # noqa: E402


def main() -> None:
    """Run and rewrite the notebook."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", type=Path)
    path = parser.parse_args().notebook
    notebook = nbformat.read(path, as_version=4)
    cells = exercise_cells() if path.stem == "exercises" else notebook.cells
    notebook.cells = nbformat.from_dict(with_colab(cells, repository()))
    NotebookClient(notebook, timeout=3600, resources={"metadata": {"path": str(path.parent)}}).execute()
    keep_what_stays(notebook)
    nbformat.write(notebook, path)


def keep_what_stays(notebook: NotebookNode) -> None:
    """Remove progress bars, warnings, counts of executions, times and the kernel's version from a notebook."""
    notebook.metadata.language_info = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = [_without_times(output) for output in cell.outputs if output.get("name") != "stderr"]


def _without_times(output: NotebookNode) -> NotebookNode:
    if output.output_type == "stream":
        output.text = re.sub(r"\b\d+ seconds", "... seconds", output.text)
    if output.output_type == "execute_result":
        output.execution_count = None
    return output


if __name__ == "__main__":
    main()
