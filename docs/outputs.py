"""Run a notebook and store its outputs in it, without what changes from run to run.

python docs/outputs.py docs/notebooks/ladder.ipynb
"""

import argparse
import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode


def main() -> None:
    """Run and rewrite the notebook."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", type=Path)
    path = parser.parse_args().notebook
    notebook = nbformat.read(path, as_version=4)
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
