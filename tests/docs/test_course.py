"""The course: what its pages quote exists, what they show is what comes out, and the site builds."""

import doctest
import importlib
import json
import logging as standard_logging
import os
import re
import shutil
import subprocess
import sys
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
from tests.playground.browsing import chromium, violations

pytestmark = pytest.mark.slow

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


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] * (page.stem == "loop"), id=page.stem) for page in WITH_EXAMPLES],
)
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


@pytest.mark.slow
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
    pytest.importorskip("sphinx")
    for folder in ("docs", "docs/_ext"):
        patch.syspath_prepend(str(REPOSITORY / folder))
    patch.setattr(standard_logging.getLogger(), "level", standard_logging.getLogger().level)
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built from a copy of the repository. Its runs are short: nothing here asks how good they are."""
    copy = tmp_path_factory.mktemp("clone")
    for part in ("gpt", "conf", "docs", "tests", "benchmarks", "exercises", "plain", ".github"):  # pages link to all
        shutil.copytree(REPOSITORY / part, copy / part, ignore=shutil.ignore_patterns("_build", "_generated"))
    for file in filter(Path.is_file, REPOSITORY.iterdir()):
        shutil.copy(file, copy)
    (copy / "data").symlink_to(REPOSITORY / "data")  # where the corpus is and downloads are kept
    with pytest.MonkeyPatch.context() as patch:
        course_runs = _extension("course_runs", patch)
        for name, line in course_runs.COMMANDS.items():
            untimed = [word for word in line if not word.startswith("training.max_iters=")]
            patch.setitem(course_runs.COMMANDS, name, [*untimed, "training.max_iters=200"])
        course_runs.train_stale(copy / "docs" / "_generated" / "runs")
    built = copy / "docs" / "_build" / "html"
    command, environment = ["-m", "sphinx", "-W", "-n", "-q", "docs", built], os.environ | {"PYTHONPATH": str(copy)}
    done = subprocess.run([sys.executable, *command], cwd=copy, env=environment, capture_output=True, text=True)
    succeeded(done)
    return built


@pytest.mark.slow
def test_every_link_of_the_site_leads_somewhere_on_it(site: Path) -> None:
    anchors: dict[Path, set[str]] = {}
    wrong = []
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert re.search(r'<link rel="(?:shortcut )?icon" href="[^"]+"', text), page
        loaded = re.findall(r'<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)="((?:https?:)?//[^"]+)"', text)
        assert loaded == [], page
        assert str(site.parents[2]) not in text, f"{page} has a path of the machine that built it"
        for target in re.findall(r'(?:href|src)="([^"]+)"', text):
            path, _, anchor = target.partition("#")
            path = path.partition("?")[0]
            if re.match(r"[a-z]+:", target) or "_static/live" in path:
                continue
            file = (page.parent / path).resolve() if path else page
            if file.suffix == ".html" and file.exists() and file not in anchors:
                anchors[file] = {"", *re.findall(r'\bid="([^"]+)"', file.read_text())}
            if not file.exists() or anchor not in anchors.get(file, {anchor}):
                wrong.append((page.name, target))
    assert len(list(site.rglob("*.html"))) > 40
    assert wrong == []
    text = (site / "course" / "v6.html").read_text()
    frame = '<iframe class="live" src="../_static/live/index.html?embed&amp;payoff=#v6"'
    assert (frame in text) == (site / "_static" / "live" / "index.html").exists()
    assert '<b data-show="prompt=the+kings&amp;' in (site / "course" / "v2.html").read_text()
    assert "attention_norm" in text[text.index("+++ plain/v6.py") :]
    assert all(shown in text for shown in ("2.0607", "layer-norm-light.svg", "layer-norm-dark.svg"))


# What reaches beyond the window, where no part of the page scrolls.
WIDE = """() => {
  for (const e of document.querySelectorAll("details")) e.open = true;
  const isCut = (e) => getComputedStyle(e).overflowX !== "visible";
  const scrolls = (e) => e.tagName !== "ARTICLE" && (isCut(e) || scrolls(e.parentNode));
  const isWide = (e) => e.getBoundingClientRect().right > innerWidth + 1 && !scrolls(e);
  return [...document.querySelectorAll("article *")].filter(isWide).map((e) => e.textContent);
}"""


@pytest.mark.slow
@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (320, "dark")])
def test_no_page_is_cut_off_or_inaccessible(site: Path, width: int, theme: str) -> None:
    pages = [page for page in site.rglob("*.html") if not {"source", "_static"} & {*page.relative_to(site).parts}]
    assert {page.stem for page in pages} >= {page.stem for page in PAGES}
    with chromium() as browser:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
        for file in pages:
            page.goto(file.as_uri())
            page.evaluate("() => globalThis.MathJax?.startup?.promise")
            code = "[class*='highlight-']:not(.highlight-text) > .highlight pre"
            cut = f"() => [...document.querySelectorAll({code!r})].filter((e) => e.scrollWidth > e.clientWidth).length"
            assert page.evaluate(cut) == 0, file
            assert page.evaluate(WIDE) == [], file
            page.evaluate("document.querySelectorAll('iframe').forEach((frame) => frame.remove())")  # tested on its own
            assert violations(page) == [], file


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
