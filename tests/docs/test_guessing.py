"""What do you expect? A question before each result, and on the site a slider, whose answer is hidden until a guess."""

import re
from pathlib import Path

from gpt.base.ladder import SMALL
from tests.conftest import REPOSITORY
from tests.playground.browsing import chromium, violations

DOCS = REPOSITORY / "docs"
QUESTION = re.compile(r"> \*\*What do you expect\?\*\* .*\?(?: \(.*\))?")
PAGE = """<!doctype html><html lang="en"><title>v2</title><body><main><h1>v2</h1><section><h2>The loss</h2>
<blockquote><p><strong>What do you expect?</strong> What does it reach?</p></blockquote>
<p id="result">Measured <strong>2.41</strong></p><p id="after">Only so much lower.</p>
<section><h3 id="next">Next</h3></section></section>
<section><h2>No loss</h2><blockquote><p><strong>What do you expect?</strong> Which one?</p></blockquote>
<p id="plain">The second.</p></section>
<section><h2>A picture</h2><blockquote><p><strong>What do you expect?</strong> What falls?</p></blockquote>
<figure class="picture" id="picture">It falls.</figure></section>
<div style="height: 3000px"></div></main></body></html>"""
INDEX = """<!doctype html><html lang="en"><title>Index</title><body><main><article><h1>The ladder</h1>
<figure class="picture"><img src="pictures/losses-light.svg" alt="v3 is below v2."></figure>
<div class="ladder"><table>
<thead><tr><th>stage</th><th>adds</th><th>documented loss</th><th>measured loss</th></tr></thead>
<tbody><tr><td><a href="v2.html">v2</a></td><td>one head</td><td>2.4084</td><td>2.4120</td></tr>
<tr><td><a href="v3.html">v3</a></td><td>several heads</td><td>2.2858</td><td>2.2660</td></tr></tbody></table></div>
</article></main></body></html>"""


def write(folder: Path, **pages: str) -> dict[str, str]:
    """Write pages with the site's scripts and styles; return their addresses."""
    (listed,) = re.findall("^html_js_files.*", (DOCS / "conf.py").read_text(), re.MULTILINE)
    scripts, static = re.findall(r'"(\w+\.js)"', listed), DOCS / "_static"
    head = f"<style>{(static / 'course.css').read_text()}</style>"
    head += "".join(f"<script>{(static / name).read_text()}</script>" for name in scripts)
    for name, page in pages.items():
        (folder / f"{name}.html").write_text(page.replace("</title>", f"</title>{head}", 1))
    return {name: (folder / f"{name}.html").as_uri() for name in pages}


def test_a_question_comes_before_every_measured_loss() -> None:
    asked = []
    for page in sorted((DOCS / "course").glob("*.md")):
        text = page.read_text()
        for result in re.finditer(r"^<!-- results: (\w+) -->", text, re.MULTILINE):
            assert QUESTION.fullmatch(text[: result.start()].rstrip().splitlines()[-1]), page.name
            asked.append(result[1])
    (listed,) = re.findall(r"^const ASKED = \[(.*?)\]", (DOCS / "_static" / "progress.js").read_text(), re.MULTILINE)
    assert re.findall(r'"(\w+)"', listed) == [*SMALL, "v7"]
    assert asked == sorted(SMALL)


def test_a_result_is_hidden_until_it_has_been_guessed(tmp_path: Path) -> None:
    addresses = write(tmp_path, v2=PAGE)
    with chromium() as browser:
        page = browser.new_page()
        page.goto(addresses["v2"])
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
        page.get_by_role("button", name="Show the answer").first.click()  # to the question without a loss
        assert page.locator(":focus").inner_text() == "The second."
        assert all(shown().values())
        assert violations(page) == []
        assert not page.locator("#picture").is_visible()
        page.mouse.wheel(0, 800)  # to read on without a guess
        page.locator("#picture").wait_for()
        page.reload()  # the guess stays
        assert page.locator(".guess").first.inner_text() == "You guessed 2.30, and it is 2.41: 0.11 higher."
        assert shown() == {"result": True, "after": True, "next": True, "plain": False}
        page = browser.new_context(java_script_enabled=False).new_page()
        page.goto(addresses["v2"])
        assert page.locator("#result").is_visible()


def test_the_index_covers_what_has_not_been_guessed(tmp_path: Path) -> None:
    """It is the reader's record."""
    addresses = write(tmp_path, index=INDEX, v2=PAGE)
    with chromium() as browser:
        page = browser.new_page()
        page.goto(addresses["index"])
        rows = lambda: page.locator("tbody tr").all_inner_texts()  # noqa: E731
        cells = lambda: [re.split(r"\s*\t\s*", row.strip()) for row in rows()]  # noqa: E731
        second = ["v3", "several heads", "guess", "?", "?", "none"]
        assert cells() == [["v2", "one head", "guess", "?", "?", "none"], second]
        assert page.locator("figure.covered").count() == 1
        assert page.get_by_role("img").count() == 0  # its text says which is better
        assert violations(page) == []
        page.get_by_role("link", name="guess the loss of v2").click()
        page.get_by_label("Your guess").fill("2.3")
        page.get_by_role("button", name="Show the loss").click()
        page.go_back()
        assert cells() == [["v2", "one head", "2.30", "2.4084", "2.4120", "none"], second]
        page.get_by_role("button", name="Show all losses").click()
        assert cells()[1] == ["v3", "several heads", "guess", "2.2858", "2.2660", "none"]
        assert page.locator("figure.covered").count() == 0
        page.get_by_role("button", name="Cover what I have not guessed").click()
        assert cells()[1] == second
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Forget my record").click()
        assert cells()[0][2:] == ["guess", "?", "?", "none"]


def test_a_live_stage_hears_whether_its_loss_has_been_guessed(tmp_path: Path) -> None:
    told = "<script>onmessage = (event) => { document.body.textContent += ` ${event.data.covered}`; }</script>"
    frame = f'<iframe class="live" title="live" srcdoc="{told}"></iframe>'
    address = write(tmp_path, v2=PAGE.replace("<main>", f"<main>{frame}"))["v2"]
    with chromium() as browser:
        page = browser.new_page()
        page.goto(address)
        page.frames[1].evaluate("parent.postMessage({height: 300}, '*')")
        live = page.frame_locator("iframe.live")
        live.get_by_text("true", exact=True).wait_for()
        page.get_by_role("button", name="Show the loss").click()
        live.get_by_text("true false", exact=True).wait_for()
