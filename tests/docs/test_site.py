"""The course as a site: it builds, its links lead somewhere, and its pages can be read and used.

Here its runs are of twenty iterations: nothing asks how good they are. tests/release/test_site.py trains them.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.extras import require_extra

require_extra("docs")

from docs.quoting import PAGES
from tests.conftest import REPOSITORY, Once, succeeded
from tests.playground.browsing import chromium, violations

# What the copy's docs/_ext/course_runs.py ends with: its runs are brief.
_BRIEF = """
for name, line in COMMANDS.items():
    kept = [word for word in line if not word.startswith(("training.max_iters=", "training.eval_", "schedule.warmup"))]
    brief = ["training.max_iters=20", "training.eval_interval=20", "training.exact_tokens=2000"]
    estimated = [] if name == "reverse" else ["training.eval_iters=1"]  # a run that translates estimates nothing
    COMMANDS[name] = [*kept, *brief, *estimated, "schedule.warmup_iters=0"]
"""


def copy_repository(folder: Path) -> None:
    """What the site is built from."""
    for part in ("gpt", "conf", "docs", "tests", "benchmarks", "exercises", "plain", ".github"):  # pages link to all
        shutil.copytree(REPOSITORY / part, folder / part, ignore=shutil.ignore_patterns("_build", "_generated"))
    for file in filter(Path.is_file, REPOSITORY.iterdir()):
        shutil.copy(file, folder)
    (folder / "data").symlink_to(REPOSITORY / "data")  # where the corpus is and downloads are kept


def build_site(folder: Path) -> None:
    """Train the runs of the copy in `folder`, and build the site."""
    command, environment = ["-m", "sphinx", "-W", "-n", "-q", "docs", built(folder)], {"PYTHONPATH": str(folder)}
    process = {"cwd": folder, "env": os.environ | environment, "capture_output": True, "text": True}
    succeeded(subprocess.run([sys.executable, *command], **process))


def built(folder: Path) -> Path:
    return folder / "docs" / "_build" / "html"


def build_brief_site(folder: Path) -> None:
    """Build the site with brief runs, of which one is live: exporting a stage takes half a minute."""
    copy_repository(folder)
    extensions = folder / "docs" / "_ext"
    with (extensions / "course_runs.py").open("a") as file:
        file.write(_BRIEF)
    live, all_stages = extensions / "live_stages.py", '_STAGES = (*_TRAINED, "v7", "reverse")'
    assert all_stages in live.read_text()
    live.write_text(live.read_text().replace(all_stages, '_STAGES = ("v2",)'))
    build_site(folder)


@pytest.fixture(scope="session")
def site(once: Once) -> Path:
    return built(once("site", build_brief_site))


def test_every_link_of_the_site_leads_somewhere_on_it(site: Path) -> None:
    check_links(site)


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (320, "dark")])
def test_no_page_is_cut_off_or_inaccessible(site: Path, width: int, theme: str) -> None:
    check_look(site, width, theme)


def check_links(site: Path) -> None:
    """Every link leads somewhere on the site, and nothing is loaded from elsewhere."""
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


def check_look(site: Path, width: int, theme: str) -> None:
    """No page is cut off at the side, and axe-core finds nothing that is hard to read or to use."""
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
