"""A stage's page: its code, its formulas and its live numbers light up together."""

from pathlib import Path
from typing import Any

import pytest
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from tests.conftest import REPOSITORY
from tests.playground.browsing import Visit, violations, visit

LINES = {"v2": "v2_attention_head", "v6": "v6_pre_norm"}


@pytest.fixture(scope="module")
def address(published: Path, site: str) -> str:
    """Pages as Sphinx makes them, of the code of a stage and the live stage."""
    static = REPOSITORY / "docs" / "_static"
    for name in ("linked.js", "course.js", "course.css"):
        (published / name).write_text((static / name).read_text())
    for stage, module in LINES.items():
        code = (REPOSITORY / "gpt" / "models" / f"{module}.py").read_text()
        block = highlight(code, PythonLexer(), HtmlFormatter(cssclass="highlight"))
        (published / f"{stage}.html").write_text(
            f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>{stage}</title>
            <link rel="icon" href="icon.svg"><link rel="stylesheet" href="course.css">
            <script src="course.js"></script><script src="linked.js"></script>
            <main aria-busy="false"><h1>{stage}</h1>
            <p><b data-show="prompt=Abc&amp;at=2&amp;open=attention:scores&amp;step=2">the b</b></p>
            <div style="height: 2000px"></div><div class="highlight-python">{block}</div>
            <iframe class="live" src="index.html?embed#{stage}" title="live"></iframe></main></html>"""
        )
    return site


def lit(visited: Visit) -> dict[str, list[str]]:
    """What is lit: text in the code, and titles of the live stage's steps and cards."""
    visited.page.wait_for_timeout(300)
    page, live = visited.page, visited.page.frame_locator("iframe")
    return {
        "code": page.locator("pre .lit").all_text_contents(),
        "live": [title.split("\n")[0] for title in live.locator(".lit").locator("h3, h4").all_inner_texts()],
    }


def opened(visited: Visit) -> Any:
    live = visited.page.frame_locator("iframe")
    live.locator("details.steps > summary").click()
    live.locator(".step").first.wait_for()
    return live


def test_a_part_of_the_code_lights_the_numbers_and_back(browser: Any, address: str) -> None:
    with visit(browser, f"{address}/v2.html") as visited:
        live, nothing = opened(visited), {"code": [], "live": []}
        for code, steps in (
            ("q @ k.transpose(-2, -1) * k.shape[-1] ** -0.5", ["Attention", "Attention", "One cell"]),
            ("scores.softmax(dim=-1)", ["Attention", "Attention", "One cell"]),
            ("@ v", ["Attention", "The sum of the values"]),
            ("self.query(x)", ["Attention", "Query, key and value"]),
            ("self.position.weight[:T]", ["Embedding + positions"]),
        ):
            for _ in range(10):  # on a busy machine, the steps may be drawn once more after the first of them is there
                visited.page.mouse.move(0, 0)
                visited.page.get_by_text(code, exact=True).hover()
                found = lit(visited)
                if len(found["live"]) == len(steps):
                    break
            assert code in found["code"]
            assert [title.partition(":")[0] for title in found["live"]] == steps
        visited.page.mouse.move(0, 0)
        assert lit(visited) == nothing
        live.locator(".step", has_text="weights @ v").locator("h4").hover()
        assert lit(visited)["code"] == ["@ v", "self.attention", "self.attention"]
        assert violations(visited.page) == []


def test_a_phrase_sets_prompt_character_and_step(browser: Any, address: str) -> None:
    with visit(browser, f"{address}/v6.html", width=390) as visited:
        live = visited.page.frame_locator("iframe")
        visited.page.get_by_role("button", name="the b").press("Enter")
        live.get_by_text("It meets the key of “A”").wait_for()
        assert live.locator("#prompt").input_value() == "Abc"
        assert live.locator(".step:visible h4").all_inner_texts()[0].startswith("Attention")
        assert "after which the run predicts" in live.locator(".flow-view .note", has_text="“b”").first.inner_text()
        assert not live.locator("#training").is_visible()
        live.get_by_text("Train it yourself").click()
        assert live.get_by_role("button", name="Train", exact=True).is_visible()
