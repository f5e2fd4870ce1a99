"""What do you expect? A question before each result, and on the site a slider, whose answer is hidden until a guess."""

import re
from pathlib import Path

from tests.conftest import REPOSITORY
from tests.playground.browsing import chromium, violations

DOCS = REPOSITORY / "docs"
QUESTION = re.compile(r"^> \*\*What do you expect\?\*\* .*\?$", re.MULTILINE)
PAGE = """<!doctype html><html lang="en"><title>v2</title><body><main><h1>v2</h1><section><h2>The loss</h2>
<blockquote><p><strong>What do you expect?</strong> What does it reach?</p></blockquote>
<p id="result">Measured <strong>2.41</strong></p><p id="after">Only so much lower.</p>
<section><h3 id="next">Next</h3></section></section>
<section><h2>No loss</h2><blockquote><p><strong>What do you expect?</strong> Which one?</p></blockquote>
<p id="plain">The second.</p></section></main></body></html>"""


def test_a_question_comes_before_every_measured_loss() -> None:
    pages = {page: page.read_text() for page in (DOCS / "course").glob("*.md")}
    assert sum(len(QUESTION.findall(text)) for text in pages.values()) >= 11
    for page, text in pages.items():
        for result in re.finditer(r"^```\{results\}", text, re.MULTILINE):
            before = text[: result.start()].rstrip().splitlines()[-1]
            assert QUESTION.fullmatch(before), page.name


def test_a_result_is_shown_after_a_guess(tmp_path: Path) -> None:
    page_file = tmp_path / "page.html"
    script, style = ((DOCS / "_static" / name).read_text() for name in ("course.js", "course.css"))
    page_file.write_text(PAGE.replace("</title>", f"</title><script>{script}</script><style>{style}</style>"))
    with chromium() as browser:
        page = browser.new_page()
        page.goto(page_file.as_uri())
        shown = lambda: {name: page.locator(f"#{name}").is_visible() for name in ("result", "after", "next", "plain")}  # noqa: E731
        assert shown() == {"result": False, "after": False, "next": True, "plain": False}
        assert violations(page) == []
        page.get_by_label("Your guess").focus()
        assert "4.17 nats: as uncertain as a choice among 65 characters" in page.locator("output").inner_text()
        page.get_by_label("Your guess").fill("2.3")
        assert "among 10 characters" in page.locator("output").inner_text()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.locator(":focus").inner_text() == "You guessed 2.30, and it is 2.41: 0.11 higher."
        page.get_by_role("button", name="Show the answer").click()  # to the question without a loss
        assert page.locator(":focus").inner_text() == "The second."
        assert all(shown().values())
        assert violations(page) == []


def test_without_a_script_a_result_is_there(tmp_path: Path) -> None:
    page_file = tmp_path / "page.html"
    page_file.write_text(PAGE)
    with chromium() as browser:
        page = browser.new_context(java_script_enabled=False).new_page()
        page.goto(page_file.as_uri())
        assert page.locator("#result").is_visible()
