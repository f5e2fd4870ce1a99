"""The directions of imports: which part of the package knows which. The sources are parsed, and not imported."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, succeeded

FILES = sorted((REPOSITORY / "gpt").rglob("*.py"))
SCRIPTS = {path.stem for path in REPOSITORY.glob("*.py")}

# From the top floor down. A package imports from lower floors only, neither from its own nor from a higher one.
FLOORS = (
    ("gpt.__main__",),
    ("gpt.cli", "gpt.notebook"),
    ("gpt.playground", "gpt.searching"),
    ("gpt.exporting",),
    ("gpt.session",),
    ("gpt.watching", "gpt.reports"),
    ("gpt.runs",),
    ("gpt.training",),
    ("gpt.tasks", "gpt.inspection"),
    ("gpt.data", "gpt.models"),
    ("gpt.config",),
    ("gpt.registry",),
    ("gpt.base",),
)
MODELS_MAY = ("gpt.registry", "gpt.config.choices", "gpt.base.errors", "gpt.models")


def name_of(path: Path) -> str:
    """gpt/runs/folder.py -> gpt.runs.folder; gpt/runs/__init__.py -> gpt.runs."""
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in FILES}


@cache
def imports_of(path: Path) -> frozenset[str]:
    """The modules that a file imports: at its top, in a function, or for type checkers only."""
    found = set()
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            # `from gpt import models` imports a module, `from gpt.models import build` a name in one.
            names = {f"{module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else module for name in names}
    return frozenset(found)


def belongs(module: str, part: str) -> bool:
    return module == part or module.startswith(f"{part}.")


def part_of(module: str) -> str:
    """gpt.runs.folder -> gpt.runs."""
    return ".".join(module.split(".")[:2])


def arrows() -> set[tuple[str, str]]:
    """Which package imports which other one; the package's own face, gpt/__init__.py, hands on from the session."""
    return {
        (part_of(name), part_of(imported))
        for name, path in MODULES.items()
        for imported in imports_of(path)
        if name != "gpt" and belongs(imported, "gpt") and imported != "gpt" and part_of(imported) != part_of(name)
    }


def test_every_package_imports_from_lower_floors_only() -> None:
    height = {part: -number for number, floor in enumerate(FLOORS) for part in floor}
    assert height.keys() == {part_of(name) for name in MODULES if name != "gpt"}
    assert {(part, other) for part, other in arrows() if height[part] <= height[other]} == set()


def test_every_package_says_in_one_sentence_what_it_is_for() -> None:
    for floor in FLOORS[1:]:
        for part in floor:
            docstring = ast.get_docstring(ast.parse(MODULES[part].read_text())) or ""
            assert re.fullmatch(r"[A-Z].*\.", docstring.partition("\n")[0]), part


def test_contributing_has_the_floors_as_its_map() -> None:
    lines = []
    for part in (part for floor in FLOORS for part in floor):
        path, docstring = MODULES[part], ast.get_docstring(ast.parse(MODULES[part].read_text())) or ""
        name = f"{path.parent.name}/" if path.name == "__init__.py" else path.name
        lines.append(f"  {name:<12} {docstring.partition(chr(10))[0].removesuffix('.')}\n")
    assert "".join(lines) in (REPOSITORY / "CONTRIBUTING.md").read_text()


def imported_by(part: str) -> set[str]:
    """What the modules of a part of the package import."""
    found = {module for name, path in MODULES.items() if belongs(name, part) for module in imports_of(path)}
    assert found
    return found


def test_models_know_choices_and_errors_alone() -> None:
    ours = [module for module in imported_by("gpt.models") if belongs(module, "gpt")]
    assert [module for module in ours if not any(belongs(module, part) for part in MODELS_MAY)] == []


def test_only_the_configuration_and_the_command_line_import_hydra() -> None:
    outside = {*SCRIPTS, "tests", "benchmarks", "docs", "exercises"}
    assert {"train", "generate", "evaluate", "compare"} <= outside
    for name, path in MODULES.items():
        never = outside if part_of(name) in ("gpt.cli", "gpt.config") else outside | {"hydra", "omegaconf"}
        assert never & {module.split(".")[0] for module in imports_of(path)} == set(), name


def test_benchmarks_reach_the_page_by_its_command_alone() -> None:
    known = {module for path in (REPOSITORY / "benchmarks").glob("*.py") for module in imports_of(path)}
    assert [module for module in known if belongs(module, "gpt.playground")] == []


def test_there_are_no_import_cycles() -> None:
    """Neither at its top nor in a function."""
    graph = {name: {module for module in imports_of(path) if module in MODULES} for name, path in MODULES.items()}
    while leaves := {name for name, imported in graph.items() if not imported & graph.keys()}:
        graph = {name: imported for name, imported in graph.items() if name not in leaves}
    assert graph == {}  # what is left lies on circles, or imports such


def test_the_commands_import_torch_only_when_they_run() -> None:
    """So that --help and tab completion need not wait for it."""
    code = """
import contextlib, runpy, sys
from gpt.base.commands import COMMANDS
for command in COMMANDS.values():
    command.load_schema()
sys.argv = ["train.py", "--help"]
with contextlib.suppress(SystemExit):
    runpy.run_path("train.py", run_name="__main__")
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    modules = set(done.stdout.splitlines()[-1].split())
    assert "hydra" in modules
    assert modules.isdisjoint({"torch", "numpy", "matplotlib", "safetensors", "tokenizers", "sacrebleu", "optuna"})


@pytest.mark.slow
def test_training_and_generating_import_no_compiler(corpus_file: Path, tmp_path: Path) -> None:
    """It takes seconds, and several of PyTorch's conveniences bring it with them."""
    code = f"""
import sys, gpt
short = ["data=text", {f"data.path={corpus_file}"!r}, "model.block_size=8", "training.max_iters=2", "device=cpu",
         "training.eval_iters=1", "training.batch_size=2", "training.average_last=0.5", "training.eval_interval=1"]
run = gpt.train("model=v9", "model.n_embd=8", "model.n_head=2", "model.n_layer=1", *short, folder="run")
run.generate(tokens=3)
run.losses("a text")
print("torch._dynamo" in sys.modules)
"""
    done = succeeded(subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True))
    assert done.stdout.splitlines()[-1] == "False"
