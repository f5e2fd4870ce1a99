"""What do you expect? A question before each result; on the site, a guess hides the numbers that answer it."""

import re
from pathlib import Path

from gpt.base.ladder import SMALL
from tests.conftest import REPOSITORY
from tests.playground.browsing import chromium, violations

DOCS = REPOSITORY / "docs"
TOKENS = REPOSITORY / "gpt" / "playground" / "page" / "tokens.css"
QUESTION = re.compile(r"> \*\*What do you expect\?\*\* .*\?(?: \(.*\))?")
PAGE = """<!doctype html><html lang="en"><title>v2</title><body><main><h1>v2</h1><section><h2>The loss</h2>
<blockquote><p><strong>What do you expect?</strong> v1 has a loss of 2.48. What does v2 reach?</p></blockquote>
<table><tbody><tr><td id="result">Measured <strong>2.4120</strong>, exact 2.4149 with 11 heads</td></tr></tbody></table>
<p id="after">Only 0.07 lower, not 0.5.</p><section><h3 id="next">Next: 2.41</h3></section></section>
<section><h2>No loss</h2><blockquote><p><strong>What do you expect?</strong> How many times?</p></blockquote>
<p id="times"><strong>5,853 times</strong> in windows of 64.</p></section>
<section><h2>In words</h2><blockquote><p><strong>What do you expect?</strong> Which one?</p></blockquote>
<p id="plain"><strong>The second</strong> of 2.</p></section></main></body></html>"""
PICTURE = """<!doctype html><html lang="en"><title>Cost</title><body><main><h1>Cost</h1><figure class="picture">
<img class="only-light" src="cost-light.svg" alt="It rises.">
<img class="empty only-light" src="cost-empty-light.svg" alt="The empty axes">
<figcaption>Both axes are logarithmic.</figcaption></figure></main></body></html>"""
INDEX = """<!doctype html><html lang="en"><title>Index</title><body><main><article><h1>The ladder</h1>
<nav class="ladder" aria-label="The ladder">
<a href="v2.html"><b>v2</b> <span>one head</span> <span class="loss">2.4149</span> <i></i></a>
<a href="v3.html"><b>v3</b> <span>several heads</span> <span class="loss">2.2711</span> <i></i></a></nav>
<table><thead><tr><th>stage</th><th>adds</th><th>documented loss</th></tr></thead>
<tbody><tr><td>v3</td><td>several heads</td><td>2.2858</td></tr></tbody></table>
</article></main></body></html>"""


def write(folder: Path, **pages: str) -> dict[str, str]:
    """Write pages with the site's scripts and styles; return their addresses."""
    (listed,) = re.findall(r"^html_js_files = \[(.*?)\]", (DOCS / "conf.py").read_text(), re.MULTILINE | re.DOTALL)
    scripts, static = re.findall(r'"(\w+\.js)"', listed), DOCS / "_static"
    head = f"<style>{TOKENS.read_text() + (static / 'course.css').read_text()}</style>"
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


def test_only_the_numbers_of_an_answer_are_covered_until_a_guess(tmp_path: Path) -> None:
    addresses = write(tmp_path, v2=PAGE)
    with chromium() as browser:
        page = browser.new_page()
        page.goto(addresses["v2"])
        said = lambda name: page.locator(f"#{name}").inner_text()  # noqa: E731
        assert said("result") == "Measured , exact  with 11 heads"
        assert said("after") == "Only  lower, not 0.5."
        assert said("next") == "Next: 2.41"
        assert said("times") == " times in windows of 64."
        assert said("plain") == "The second of 2."
        assert violations(page) == []
        page.get_by_label("Your guess").focus()
        assert "4.17 nats: as uncertain as a choice among 65 characters" in page.locator("output").inner_text()
        page.get_by_label("Your guess").fill("2.3")
        assert "among 10 characters" in page.locator("output").inner_text()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.locator(":focus").inner_text() == "You guessed 2.30, and it is 2.41: 0.11 higher."
        shown = ["Measured 2.4120, exact 2.4149 with 11 heads", "Only 0.07 lower, not 0.5."]
        assert [said("result"), said("after")] == shown
        page.get_by_role("button", name="Show the answer").press("Enter")  # no loss: there is no slider
        assert page.locator(":focus").inner_text() == "5,853"
        assert violations(page) == []
        page.reload()  # the guess stays
        assert page.locator(".guess").inner_text() == "You guessed 2.30, and it is 2.41: 0.11 higher."
        assert [said("result"), said("after")] == shown


def test_an_answer_can_be_shown_without_a_guess_and_is_printed(tmp_path: Path) -> None:
    addresses = write(tmp_path, v2=PAGE)
    with chromium() as browser:
        page = browser.new_page()
        page.goto(addresses["v2"])
        page.emulate_media(media="print")
        assert "2.4120, exact 2.4149" in page.locator("#result").inner_text()
        page.emulate_media(media="screen")
        page.get_by_role("button", name="Show the answer").first.press("Enter")
        assert page.locator(":focus").inner_text() == "2.4120"
        assert page.locator("#after").inner_text() == "Only 0.07 lower, not 0.5."
        assert page.locator("form.guess").count() == 0
        page = browser.new_context(java_script_enabled=False).new_page()
        page.goto(addresses["v2"])
        assert "2.4120, exact 2.4149" in page.locator("#result").inner_text()


def test_a_reader_draws_on_empty_axes_before_the_picture(tmp_path: Path) -> None:
    for name in ("cost-light.svg", "cost-empty-light.svg"):
        (tmp_path / name).write_text('<svg xmlns="http://www.w3.org/2000/svg" width="400" height="200"/>')
    address = write(tmp_path, cost=PICTURE)["cost"]
    with chromium() as browser:
        page = browser.new_page()
        page.goto(address)
        names = lambda: [image.get_attribute("alt") for image in page.get_by_role("img").all()]  # noqa: E731
        line = page.locator(".sheet path")
        assert names() == ["The empty axes"]
        assert violations(page) == []
        box = page.locator(".sheet svg").bounding_box()
        assert box is not None
        assert box["width"] == 400
        page.mouse.move(box["x"] + 100, box["y"] + 0.75 * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + 300, box["y"] + 0.25 * box["height"])
        page.mouse.up()
        page.mouse.move(box["x"] + 50, box["y"] + 50)
        drawn = line.get_attribute("d")
        assert drawn == "M25.0 75.0L25.0 75.0L75.0 25.0"
        page.get_by_role("button", name="Show the picture").press("Enter")
        assert names() == ["It rises."]
        assert violations(page) == []
        page.reload()  # the drawing stays
        assert names() == ["It rises."]
        assert line.get_attribute("d") == drawn
        page.get_by_role("button", name="Draw again").click()
        assert names() == ["The empty axes"]
        assert line.get_attribute("d") == ""
        page = browser.new_context(java_script_enabled=False).new_page()
        page.goto(address)
        assert names() == ["It rises."]


def test_the_index_covers_what_has_not_been_guessed(tmp_path: Path) -> None:
    """Its ladder is the reader's record."""
    addresses = write(tmp_path, index=INDEX, v2=PAGE)
    with chromium() as browser:
        page = browser.new_page()
        page.goto(addresses["index"])
        rungs = lambda: [" ".join(row.split()) for row in page.locator(".ladder a").all_inner_texts()]  # noqa: E731
        assert rungs() == ["v2 one head guess", "v3 several heads guess"]
        assert page.locator("td").last.inner_text() == "?"
        assert violations(page) == []
        page.get_by_role("link", name="v2").click()
        page.get_by_label("Your guess").fill("2.3")
        page.get_by_role("button", name="Show the loss").click()
        page.go_back()
        assert rungs() == ["v2 one head 2.4149 you guessed 2.30", "v3 several heads guess"]
        page.get_by_role("button", name="Show all losses").click()
        assert rungs()[1] == "v3 several heads 2.2711"
        assert page.locator("td").last.inner_text() == "2.2858"
        page.get_by_role("button", name="Cover what I have not guessed").click()
        assert rungs()[1] == "v3 several heads guess"
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Forget my record").click()
        assert rungs()[0] == "v2 one head guess"
