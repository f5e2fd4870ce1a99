"""The cells of notebooks that are made: those of the exercises, and the one that fetches the repository on Colab."""

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

from exercises.checks import EXERCISES

_REPOSITORY = Path(__file__).parents[1]
_FETCH = """# On Colab, only the notebook has been opened: fetch the rest. Elsewhere, this does nothing.
import os
import subprocess
import sys

if "google.colab" in sys.modules:
    folder = "/content/gpt-ladder"
    if not os.path.exists(folder):
        subprocess.run(["git", "clone", "--depth=1", "{address}", folder], check=True)
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "-e", f"{{folder}}[subwords]"], check=True)
    sys.path.append(folder)
    os.chdir(f"{{folder}}/docs/notebooks")"""
_INTRODUCTION = """# The exercises in one notebook

Write the parts of a GPT yourself. Each exercise is a cell with a `BLANK` for each line that is left to you. Replace it,
run the cell, and then the cell below it, which says what is right and what is wrong: see
[Exercises that answer](../course/exercises.md).

`exercises.check("v2", Head).hint()` gives a hint, and `hint(2)` and `hint(3)` say more. Several exercises define a
`Block`, so before you check one of them again, run its cell again."""


def repository() -> str | None:
    """The address of the repository on GitHub, if pyproject.toml has it."""
    project = tomllib.loads((_REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address: str | None = project.get("urls", {}).get("Repository")
    return address


def with_colab(cells: list[dict[str, Any]], address: str | None) -> list[dict[str, Any]]:
    """The cells of a notebook, whose second one fetches the repository on Colab if its address is known."""
    title, *others = [cell for cell in cells if cell["id"] != "colab"]
    return [title, *([] if address is None else [_code("colab", _FETCH.format(address=address))]), *others]


def exercise_cells() -> list[dict[str, Any]]:
    """For each file of exercises/ its idea, its code, and a check."""
    cells = [_text("introduction", _INTRODUCTION), _code("import", "import exercises")]
    for name, exercise in EXERCISES.items():
        source = (_REPOSITORY / "exercises" / f"{name}.py").read_text(encoding="utf-8")
        tree = ast.parse(source)
        title, idea = (ast.get_docstring(tree) or "").split("\n\n", 1)
        links = re.sub(r"docs/course/(\w+)\.md", r"[\1](../course/\1.md)", idea)
        code = "\n".join(source.splitlines()[tree.body[0].end_lineno :]).strip()
        answers = ", ".join(part.name for part in exercise.parts)
        cells += [
            _text(f"{name}-idea", f"## {title.partition('. ')[0]}\n\n{links}"),
            _code(name, code),
            _code(f"{name}-check", f'exercises.check("{name}", {answers})'),
        ]
    return cells


def _text(name: str, source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": source}


def _code(name: str, source: str) -> dict[str, Any]:
    return {"cell_type": "code", "id": name, "metadata": {}, "source": source, "outputs": [], "execution_count": None}
