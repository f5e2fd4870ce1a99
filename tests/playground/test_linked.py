"""A stage's page: its code, its formulas, its picture and its live numbers light up together."""

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.playground.browsing import Visit, violations, visit

pytest.importorskip("sphinx")
sys.path[:0] = [str(REPOSITORY / "docs"), str(REPOSITORY / "docs" / "_ext")]
from pictures.flow import FLOWS  # noqa: E402
from pictures.theme import save  # noqa: E402
from pygments import highlight  # noqa: E402
from pygments.formatters import HtmlFormatter  # noqa: E402
from pygments.lexers import PythonLexer  # noqa: E402

pytestmark = pytest.mark.slow

LINES = {"v2": "v2_attention_head", "v6": "v6_pre_norm"}


@pytest.fixture(scope="module")
def address(published: Path, site: str) -> str:
    """Pages as Sphinx makes them, of the code of a stage, its picture and the live stage."""
    static = REPOSITORY / "docs" / "_static"
    for name in ("linked.js", "course.js", "course.css"):
        (published / name).write_text((static / name).read_text())
    for stage, module in LINES.items():
        save(FLOWS[f"flow-{stage}"], {}, "light", published / f"flow-{stage}.svg")
        code = (REPOSITORY / "gpt" / "models" / f"{module}.py").read_text()
        block = highlight(code, PythonLexer(), HtmlFormatter(cssclass="highlight"))
        (published / f"{stage}.html").write_text(
            f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>{stage}</title>
            <link rel="icon" href="icon.svg"><link rel="stylesheet" href="course.css">
            <script src="course.js"></script><script src="linked.js"></script>
            <main aria-busy="false"><h1>{stage}</h1>
            <p><b data-show="prompt=Abc&amp;at=2&amp;open=attention:scores&amp;step=1">the b</b></p>
            <figure class="picture"><img src="flow-{stage}.svg" alt="The picture of {stage}."></figure>
            <div style="height: 2000px"></div><div class="highlight-python">{block}</div>
            <iframe class="live" src="index.html?embed#{stage}" title="live"></iframe></main></html>"""
        )
    return site


def lit(visited: Visit) -> dict[str, list[str]]:
    """What is lit: text in the code, parts in the picture, titles of the live stage's steps and cards."""
    visited.page.wait_for_timeout(300)
    page, live = visited.page, visited.page.frame_locator("iframe")
    return {
        "code": page.locator("pre .lit").all_text_contents(),
        "picture": page.locator("figure .lit").evaluate_all("all => all.map((one) => one.dataset.part)"),
        "live": [title.split("\n")[0] for title in live.locator(".lit").locator("h3, h4").all_inner_texts()],
    }


def opened(visited: Visit) -> Any:
    live = visited.page.frame_locator("iframe")
    live.locator("details.steps > summary").click()
    live.locator(".step").first.wait_for()
    return live


def test_a_part_of_the_code_lights_picture_and_numbers(browser: Any, address: str) -> None:
    with visit(browser, f"{address}/v2.html") as visited:
        live, nothing = opened(visited), {"code": [], "picture": [], "live": []}
        for code, part, steps in (
            ("q @ k.transpose(-2, -1) * k.shape[-1] ** -0.5", "attention", ["Attention", "Attention", "One cell"]),
            ("scores.softmax(dim=-1)", "attention", ["Attention", "Attention", "One cell"]),
            ("@ v", "attention", ["Attention", "The sum of the values"]),
            ("self.query(x)", "attention", ["Attention", "Query, key and value"]),
            ("self.position.weight[:T]", "embedding.position", ["Embedding + positions"]),
        ):
            for _ in range(10):  # on a busy machine, the steps may be drawn once more after the first of them is there
                visited.page.mouse.move(0, 0)
                visited.page.get_by_text(code, exact=True).hover()
                found = lit(visited)
                if len(found["live"]) == len(steps):
                    break
            assert code in found["code"]
            assert found["picture"] == [part]
            assert [title.partition(":")[0] for title in found["live"]] == steps
            assert visited.page.locator(".beside-code").is_visible()  # the picture itself is far above
        visited.page.mouse.move(0, 0)
        assert lit(visited) == nothing
        # And back, from the picture and from the live stage.
        visited.page.locator("figure [data-part='attention']").hover()
        found = lit(visited)
        assert {"@ v", "scores.softmax(dim=-1)", "self.key(x)", "self.attention"} <= set(found["code"])
        assert "The sum of the values" in found["live"]
        assert not visited.page.locator(".beside-code").is_visible()
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
