"""In front of a stage's frame stands the one thing that shows its idea, and its numbers are the run's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from gpt.base.installation import TINY_SHAKESPEARE
from gpt.inspection.parts import parts
from gpt.session.trained import TrainedRun
from tests.playground.browsing import PROMPT, losses, violations, visit

TEXT = "Abc bad."  # as long as the windows are


def test_a_letter_shows_what_it_reads(browser: Any, site: str, load: Callable[..., TrainedRun]) -> None:
    with visit(browser, f"{site}/?embed&payoff#v2&prompt={quote(TEXT)}", width=390) as visited:
        page = visited.page
        page.locator(".letters button").nth(4).click()
        visited.settled()
        (layer,) = load("v2").attention(TEXT[:5])
        likeliest = layer[0, -1].argmax().item()
        said = visited.text(".payoff > [role=status]")
        assert said.startswith(f"“b” reads: “{TEXT[likeliest]}” {100 * layer[0, -1, likeliest]:.1f}%")
        assert page.locator(".arcs :is(path, circle)").count() == 5
        assert page.locator(".letters [aria-pressed=true]").inner_text() == "b"
        assert page.locator(".letters .later").all_inner_texts() == ["a", "d", "."]
        assert not page.locator("#prompt").is_visible()
        assert violations(page) == []
        page.get_by_text("Look further").click()
        assert page.locator("#prompt").input_value() == TEXT


def test_a_letter_shows_its_row_of_the_table(browser: Any, site: str, load: Callable[..., TrainedRun]) -> None:
    with visit(browser, f"{site}/?embed&payoff#v1&prompt={quote(TEXT)}") as visited:
        visited.page.locator(".letters button").nth(2).click()
        visited.settled()
        assert visited.text(".predicted h3") == "After “c”"
        likeliest = max(load("v1").next_token(TEXT[:3]).values())
        assert f"{100 * likeliest:.1f}%" in visited.text(".predicted")


def test_switches_take_one_idea_away(browser: Any, site: str, load: Callable[..., TrainedRun]) -> None:
    with visit(browser, f"{site}/?embed&payoff=v5#v6&prompt={quote(PROMPT)}") as visited:
        switches = visited.page.locator(".payoff .switch")
        assert {*switches.all_inner_texts()} == {"every x +", "x + attention", "x + feed-forward"}
        switches.first.click()  # the first plus is off already
        visited.settled()
        run = load("v6")
        found = losses(run, [part for part in parts(run.model) if "plus" in part])
        assert float(visited.text(".payoff .after")) == pytest.approx(sum(found) / len(found), abs=0.006)


def test_a_letter_shows_what_followed_it_in_the_text(browser: Any, site: str) -> None:
    with visit(browser, f"{site}/?embed&payoff=v9#v6&prompt={quote(TEXT)}") as visited:
        visited.page.locator(".letters button").nth(6).click()
        rows = visited.page.locator(".counts tbody tr")
        rows.nth(5).wait_for()
        text = Path(TINY_SHAKESPEARE).read_text()
        text = text[: int(0.9 * len(text))]
        assert rows.nth(2).locator("td").all_inner_texts()[:2] == ["bad", f"{text.count('bad'):,}"]
