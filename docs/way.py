"""The way from `python train.py model=v5` to its first update: the files on it in their order, as a table.

python docs/way.py            write it into CONTRIBUTING.md
python docs/way.py --print    print it instead, with the functions of each file
"""

import argparse
import ast
import os
import re
import runpy
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from inspect import CO_NEWLOCALS
from pathlib import Path
from types import FrameType
from typing import Any

_REPOSITORY = Path(__file__).resolve().parent.parent
_PAGE = _REPOSITORY / "CONTRIBUTING.md"
_TABLE = re.compile(r"(?<=<!-- way -->\n).*?(?=<!-- end -->)", re.DOTALL)
_SHORT = ("training.max_iters=1", "training.eval_iters=1", "device=cpu")


class _UpdatedError(Exception):
    """The first update begins."""


def way(words: list[str]) -> dict[Path, list[str]]:
    """The functions of gpt/ that train.py calls before its first update, by file, both in the order of first calls."""
    found: dict[Path, list[str]] = {}
    package = f"{_REPOSITORY / 'gpt'}{os.sep}"

    def called(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(package) or code.co_name.startswith("<"):
            return
        if code.co_name == "step" and code.co_filename.endswith("optimizers.py"):
            raise _UpdatedError
        is_class_body = not code.co_flags & CO_NEWLOCALS
        if is_class_body or _is_imported(frame):
            return
        names = found.setdefault(Path(code.co_filename), [])
        if code.co_qualname not in names:
            names.append(code.co_qualname)

    sys.path.insert(0, str(_REPOSITORY))
    with tempfile.TemporaryDirectory() as folder, suppress(_UpdatedError), redirect_stdout(sys.stderr):
        sys.argv = ["train.py", *words, *_SHORT, f"hydra.run.dir={folder}/run"]
        sys.setprofile(called)
        try:
            runpy.run_path(str(_REPOSITORY / "train.py"), run_name="__main__")
        finally:
            sys.setprofile(None)
    return found


def _is_imported(frame: FrameType | None) -> bool:
    """Whether a call is made while a module is imported."""
    while frame is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    return frame is not None and Path(frame.f_code.co_filename).name != "train.py"


def table(found: dict[Path, list[str]]) -> Iterator[str]:
    """A row for each file: how many of its functions run, how many lines these have, and what it is."""
    yield "| file | functions | lines | what it is |\n|---|---|---|---|\n"
    for path, names in found.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        what = (ast.get_docstring(tree) or "").partition("\n")[0].removesuffix(".").replace("|", "\\|")
        lines = sum(_length(tree, name) for name in names)
        place = path.relative_to(_REPOSITORY).as_posix()
        yield f"| [{place}]({place}) | {len(names)} | {lines} | {what} |\n"


def _length(tree: ast.Module, name: str) -> int:
    """The lines of a function, by its qualified name."""
    node: Any = tree
    for part in name.replace(".<locals>", "").split("."):
        node = next((each for each in ast.walk(node) if getattr(each, "name", None) == part), node)
    return (node.end_lineno or node.lineno) - node.lineno + 1 if isinstance(node, ast.FunctionDef) else 0


def main() -> None:
    """Write the table, or print it."""
    parser = argparse.ArgumentParser(description="The way from train.py to its first update.")
    parser.add_argument("--print", action="store_true", help="print it, with the functions of each file")
    parser.add_argument("words", nargs="*", default=["model=v5"], help="words for train.py; by default, model=v5")
    given = parser.parse_args()
    found = way(given.words)
    if given.print:
        print(*(f"{path.relative_to(_REPOSITORY)}: {', '.join(names)}" for path, names in found.items()), sep="\n")
    else:
        page = _PAGE.read_text(encoding="utf-8")
        _PAGE.write_text(_TABLE.sub(lambda _: "".join(table(found)), page), encoding="utf-8")


if __name__ == "__main__":
    main()
