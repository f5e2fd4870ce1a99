"""The course: what its pages quote exists, what they show is what comes out, and the site builds."""

import doctest
import importlib
import json
import logging as standard_logging
import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pygments import highlight
from pygments.lexers import PythonLexer

import gpt
from docs.quoting import ARCHITECTURES, PAGES, PICTURES, filled, numbers, table
from gpt.base.ladder import LADDER, SMALL
from gpt.runs.folder import RunFolder
from tests.conftest import REPOSITORY, Script, succeeded

DOCS = REPOSITORY / "docs"
COURSE = sorted((DOCS / "course").glob("*.md"))
WITH_EXAMPLES = [*COURSE, DOCS / "lab" / "architectures.md", DOCS / "lab" / "machines.md"]
GLOSSARY = DOCS / "course" / "glossary.md"
STAGES = [*SMALL, "v7"]
# As in docs/quoting.py.
QUOTED = re.compile(r"^<!-- (?P<kind>\w+):? ?(?P<what>.*) -->\n(?P<shown>(?:.*\n)*?)^<!-- end -->$", re.MULTILINE)


def quoted(page: Path, kind: str) -> list[tuple[str, str]]:
    """What a page quotes of that kind: as it is named, and what is shown."""
    return [(found["what"], found["shown"]) for found in QUOTED.finditer(page.read_text()) if found["kind"] == kind]


def test_a_page_shows_what_it_quotes_as_it_is_now() -> None:
    for page in PAGES:
        text = page.read_text()
        assert filled(text, page) == text, f"{page}: run python docs/quoting.py"
        assert not re.search(r"^(?:```|:::+)\{(?!toctree|notebooks)", text, re.MULTILINE), page
        assert not re.search(r"(?<!!)\[\]\(", text), f"{page} has a link without a text"
        assert r"\operatorname" not in text, f"{page}: GitHub's formulas have no \\operatorname"
    assert sum(len(quoted(page, kind)) for page in COURSE for kind in ("code", "diff", "results", "live")) > 90
    page = DOCS / "course" / "v2.md"
    assert filled(page.read_text().replace("scores.softmax", "scores.max"), page) == page.read_text()
    with pytest.raises(LookupError):
        filled("<!-- code: gpt/models/v2_attention_head.py Heads -->\n<!-- end -->", page)


@pytest.mark.parametrize("stage", STAGES)
def test_the_page_of_a_stage_has_all_its_parts(stage: str) -> None:
    page = DOCS / "course" / f"{stage}.md"
    text = page.read_text()
    assert "$$" in text
    assert quoted(page, "picture")
    assert [what.split()[0] for what, _ in quoted(page, "live")] == [stage]
    assert [what for what, _ in quoted(page, "results")] == ([stage] if stage != "v7" else [])
    assert bool(quoted(page, "diff")) == (stage not in ("v1", "v2"))  # whose models are new
    assert any("gpt/models/" in what for what, _ in quoted(page, "code"))
    exercises = text[text.index("## Exercises") :]
    assert re.findall(r"^\*\*(\d)\.\*\*", exercises, re.MULTILINE) == ["1", "2", "3"]
    assert exercises.count("<summary>Answer</summary>") == 3


def test_the_glossary_leads_to_the_page_that_introduces_a_term() -> None:
    rows = re.findall(r"^\| \[?([^]|]+)\]?(?:\((.+?)\))? \|", GLOSSARY.read_text(), re.MULTILINE)[1:]
    terms = [term.strip() for term, _ in rows]
    assert len(terms) > 50
    assert terms == sorted(terms, key=str.lower)
    for term, page in rows:
        text = (GLOSSARY.parent / page.partition("#")[0]).read_text().lower() if page else term.lower()
        assert all(name.lower() in text for name in term.strip().split(", ")), term


def test_every_picture_is_on_a_page() -> None:
    code = (DOCS / "pictures" / "__init__.py").read_text()
    drawn = {*re.findall(r'^    "([\w-]+)": \w+\.\w+,$', code, re.MULTILINE)}
    drawn |= {f"reading-{stage}" for stage in ("attention", "gru", "lstm", "conv")}
    drawn |= {f"flow-{stage}" for stage in LADDER if stage not in SMALL and DOCS / "course" / f"{stage}.md" in COURSE}
    shown = [found for page in [*COURSE, DOCS / "index.md"] for found in quoted(page, "picture")]
    assert {name for name, _ in shown} == drawn
    files = {f"{name}-{theme}.svg" for name in drawn for theme in ("dark", "light")}
    assert {path.name for path in PICTURES.iterdir()} == files
    for name, text in shown:
        dark, alt, light = re.findall(r'<source .*srcset="(\S+)"><img alt="(.*?)" src="(\S+)"></picture>', text)[0]
        assert (Path(dark).name, Path(light).name) == (f"{name}-dark.svg", f"{name}-light.svg")
        assert len(alt) > 40


def test_the_answers_about_architectures_stand_in_the_table() -> None:
    course = " ".join((DOCS / "course" / "architectures.md").read_text().split())
    _, losses = table(ARCHITECTURES, "**Equal parameters.**")
    v6, gru = (numbers(losses[name][1])[0] for name in ("v6", "gru"))
    assert f"v6 has a loss of {v6:.2f}" in course
    assert f"**{gru:.2f}**" in course
    _, milliseconds = table(ARCHITECTURES, "the memory of a step, on one core.")
    times = [numbers(milliseconds[name][-1])[0] / numbers(milliseconds[name][0])[0] for name in ("v6", "gru")]
    assert "**{:,.0f} times** for v6, and **{:,.0f} times** for the GRU".format(*times) in course
    assert course.count("> **What do you expect?**") == 4


@pytest.mark.parametrize("page", [pytest.param(page, id=page.stem) for page in WITH_EXAMPLES])
def test_what_a_page_shows_is_what_python_answers(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a page's examples in one session, started in a folder that has the corpus."""
    (tmp_path / "data").symlink_to(REPOSITORY / "data")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```pycon\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, page.name, str(page), 0)
    assert test.examples or page.stem in {"start", "own", "sampling", "schedules", "glossary", "architectures"}
    report: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=report.append)
    assert result.failed == 0, "".join(report)


def test_the_scripts_accept_the_commands_of_the_course(script: Script, tmp_path: Path) -> None:
    """Composed and checked, but not run; of a sweep, the first job."""
    (tmp_path / "mine.txt").write_text("to be or not to be\n" * 100)
    pages = "".join(page.read_text() for page in WITH_EXAMPLES).replace("\\\n", "")
    commands = [line.partition("#")[0] for line in re.findall(r"^python (train\.py .*)$", pages, re.MULTILINE)]
    assert len(commands) > 10
    for command in commands:
        name, *arguments = command.replace("RUN_FOLDER", "runs/any").split()
        first = [re.sub(r"=([^\[(,]+),.*", r"=\1", argument) for argument in arguments if argument != "-m"]
        succeeded(script(name, *first, "--cfg", "job", cwd=tmp_path))


def _extension(name: str, patch: pytest.MonkeyPatch) -> Any:
    """A module of docs/_ext, by name, which sees the others there until the patch is undone."""
    for folder in ("docs", "docs/_ext"):
        patch.syspath_prepend(str(REPOSITORY / folder))
    patch.setattr(standard_logging.getLogger(), "level", standard_logging.getLogger().level)
    return importlib.import_module(name)


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """A module of docs/_ext, by name."""
    return partial(_extension, patch=monkeypatch)


def test_a_line_of_code_is_an_element_with_its_comment_apart(extension: Callable[[str], Any]) -> None:
    source = "def f(x):\n\n    return x  # why\n"
    code = highlight(source, PythonLexer(), extension("code_lines").Lines())
    assert re.findall(r"--indent: min\((.)ch", code) == ["0", "0", "4"]
    assert '<span class="comment" style="flex-basis: 5ch"><span class="c1"># why</span></span>' in code
    assert re.sub("<[^>]+>", "", code).rstrip() == source.rstrip()


def test_a_run_is_trained_again_if_its_command_changed(
    extension: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    course_runs, trained = extension("course_runs"), list[str]()

    def train(folder: Path, line: list[str]) -> None:
        trained.append(folder.name)
        gpt.train(*line, "resume=auto", folder=folder)

    brief = ["training.max_iters=2", "training.eval_interval=2", "training.eval_iters=1"]
    commands = {"v1": ["model=v1", *brief], "v2": ["model=v2", *brief]}
    monkeypatch.setattr(course_runs, "COMMANDS", commands)
    monkeypatch.setattr(course_runs, "_train", train)
    for expected in (["v1", "v2"], [], ["v2"]):
        course_runs.train_stale(tmp_path)
        assert trained == expected
        trained.clear()
        if not expected:
            commands["v2"] = [*commands["v2"], "training.learning_rate=0.5"]


def test_graphs_are_exported_again_if_their_run_changed(
    extension: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    live_stages, exported = extension("live_stages"), list[str]()
    runs = {name: SimpleNamespace(run=RunFolder(tmp_path / name)) for name in live_stages._STAGES}
    for opened in runs.values():
        opened.run.path.mkdir()
        (opened.run.path / "summary.json").touch()

    def export(name: str, _run: RunFolder, folder: Path) -> tuple[dict[str, Any], list[str]]:
        folder.mkdir(parents=True)
        exported.append(name)
        return {"training": {}}, []

    def built() -> set[str]:
        exported.clear()
        live_stages.write_live(runs, tmp_path / "live")
        return {*exported}

    monkeypatch.setattr("gpt.playground.static.page", lambda _: {"index.html": b"1"})
    monkeypatch.setattr("gpt.playground.static.export_run", export)
    monkeypatch.setattr(live_stages, "_POOL", partial(ThreadPoolExecutor, 1))
    assert built() == {*live_stages._STAGES}
    assert built() == set()
    later = time.time() + 60
    os.utime(tmp_path / "v5" / "summary.json", (later, later))
    assert built() == {"v5"}
    assert json.loads((tmp_path / "live" / "runs.json").read_text()).keys() == {*live_stages._STAGES}
