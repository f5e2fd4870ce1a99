"""The README: short, and what it shows and leads to is there."""

import json
import re
import sys
import tomllib
from pathlib import Path

from PIL import Image

import gpt
from exercises import check
from tests.conftest import REPOSITORY
from tests.exercises.test_exercises import module_of, solved

sys.path.insert(0, str(REPOSITORY / "docs"))
import learning

README = (REPOSITORY / "README.md").read_text()
RESULTS = (REPOSITORY / "docs" / "lab" / "results.md").read_text()


def test_the_readme_is_short_with_the_course_before_the_reference() -> None:
    assert len(README.split()) < 700
    headings = re.findall(r"^## (.*)", README, re.MULTILINE)
    assert headings == ["What the stages write", "The course", "Is it right?", "Reference"]


def test_the_project_has_one_name() -> None:
    name = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["name"]
    sentence = re.match(rf"# {name}\n\n([^\n]+)\.\n", README)
    assert sentence is not None
    assert (REPOSITORY / "docs" / "index.md").read_text().startswith(f"# {sentence[1]}\n")  # says what it is
    assert f'project = html_title = "{name}"' in (REPOSITORY / "docs" / "conf.py").read_text()
    assert f'title: "{name}: ' in (REPOSITORY / "CITATION.cff").read_text()


def test_the_moving_picture_is_small() -> None:
    (path,) = re.findall(r"^!\[.*\]\((.*)\)$", README, re.MULTILINE)
    assert (REPOSITORY / path).stat().st_size < 500_000
    with Image.open(REPOSITORY / path) as picture:
        assert picture.width <= 720
        assert picture.height <= 480
        assert picture.n_frames > 20


def test_the_moving_picture_and_the_stored_training_show_the_snapshots(tmp_path: Path) -> None:
    short = ["training.max_iters=20", "training.eval_interval=20", "training.eval_iters=1", "device=cpu"]
    gpt.train("model=v1", "checkpoint.snapshots=2", *short, folder=tmp_path / "run")
    first, *_, last = frames = learning.frames(tmp_path / "run")
    assert len(frames) == 3
    assert first.size == (720, 360)
    left = (0, 50, 440, 360)  # the text
    assert first.crop(left).tobytes() != last.crop(left).tobytes()
    kept, made = json.loads(learning._STORED.read_text()), learning.stored(tmp_path / "run")
    assert kept.keys() == made.keys()
    assert [(text["iteration"], len(text["text"])) for text in made["texts"]] == [(0, 200), (20, 200)]


def test_the_answer_of_the_exercise_is_what_a_reader_gets(tmp_path: Path) -> None:
    attempt = solved("v2").replace("/ D**0.5", "/ D")
    answer = str(check("v2", module_of(attempt, tmp_path).Head))
    assert f"```\n{answer}\nEdit exercises/v2.py. " in README


def test_the_readme_quotes_the_beginnings_of_the_results() -> None:
    texts = re.findall(r"^(v\d), [^\n]*\n\n```\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert [stage for stage, _ in texts] == ["v1", "v5", "v7"]
    assert all(f"```text\n{text}" in RESULTS for _, text in texts)


def test_the_text_of_v5_is_that_of_the_first_page() -> None:
    (v5,) = re.findall(r"^v5, a loss of [^\n]*\n\n(```text\n.*?^```)", RESULTS, re.MULTILINE | re.DOTALL)
    start = (REPOSITORY / "docs" / "course" / "start.md").read_text()
    lines = [line.rstrip() for line in v5.splitlines()[1:-1]]
    assert lines == [line.rstrip() for line in start.splitlines() if line.rstrip() in lines]


def test_the_readme_links_to_every_page_of_the_reference() -> None:
    """What it once said itself is on them."""
    linked = {link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link}
    assert all((REPOSITORY / link).exists() for link in linked)
    docs = REPOSITORY / "docs"
    pages = {str(path.relative_to(REPOSITORY)) for path in [*docs.glob("*.md"), *docs.glob("lab/*.md")]}
    assert pages - {"docs/index.md"} <= linked


def test_the_map_is_the_repository() -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    (block,) = re.findall(r"^## Map\n\n```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for name in ("gpt", "conf", "data", "runs", "tests", "docs"):
        assert f"{name}/" in block
        assert (REPOSITORY / name).is_dir()
    assert all(name in block for name in (path.name for path in REPOSITORY.glob("*.py")))


def test_the_readme_leads_to_the_site_or_its_first_page() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    address = project.get("urls", {}).get("Documentation", "docs/course/start.md")
    assert f"[as a site]({address})" in README
    assert "URL" not in re.sub(r"PIP_EXTRA_INDEX_URL", "", README)  # this page's address is above it


def test_the_second_picture_is_small_and_there_in_both_themes() -> None:
    ((dark, alt, light),) = re.findall(r'<source .*srcset="(\S+)"><img alt="(.*?)" src="(\S+)"></picture>', README)
    assert README.index(light) > README.index("learning.webp")
    assert len(alt) > 40
    assert all((REPOSITORY / path).stat().st_size < 150_000 for path in (dark, light))
