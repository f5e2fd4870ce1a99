"""The graph of the page Without PyTorch, which one steps through."""

import importlib
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.conftest import REPOSITORY
from tests.docs.test_guessing import write
from tests.playground.browsing import chromium, violations

PAGE = """<!doctype html><html lang="en"><title>Steps</title><body><main><h1>Steps</h1>{}</main></body></html>"""
_READ = """(boxes) => boxes.map((box) =>
  [...box.querySelectorAll("text:not(.absent)")].map((text) => text.textContent))"""


def numbers(page: Any) -> dict[str, list[float]]:
    """What each box shows: its value and its gradient, as far as they are known."""
    boxes = page.locator("figure.graph g").evaluate_all(_READ)
    return {name: [float(number) for number in shown] for name, *shown in boxes}


def test_the_graph_is_stepped_by_keyboard_to_pytorchs_gradients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("docs", "docs/_ext"):
        monkeypatch.syspath_prepend(REPOSITORY / folder)
    address = write(tmp_path, graph=PAGE.format(importlib.import_module("value_graph").figure()))["graph"]
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 900}, color_scheme="dark")
        page.goto(address)
        given = {name: shown[0] for name, shown in numbers(page).items() if shown}
        page.get_by_role("button", name="Back").focus()
        page.keyboard.press("Enter")  # there is nothing before the first
        assert page.locator("figure.graph.backwards").count() == 0  # which way the arrows point
        page.keyboard.press("Tab")
        said, known = [], []
        for _ in range(page.locator("figure.graph li").count()):
            page.keyboard.press("ArrowRight")
            said.append(page.get_by_role("status").inner_text())
            known.append(sum(map(len, numbers(page).values())))
        assert page.locator("figure.graph.backwards").count() == 1
        last = numbers(page)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # nor after the last
        assert (page.get_by_role("status").inner_text(), numbers(page)) == (said[-1], last)
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        without_script = browser.new_page(java_script_enabled=False)
        without_script.goto(address)
        assert numbers(without_script) == last

    x = torch.tensor([given["x1"], given["x2"]], requires_grad=True)
    W = torch.tensor([[given["a1"], given["a2"]], [given["b1"], given["b2"]]], requires_grad=True)
    loss = cross_entropy(W @ x, torch.tensor(0))
    loss.backward()
    expected = [*W.grad.flatten().tolist(), *x.grad.tolist()]
    assert [last[name][1] for name in ("a1", "a2", "b1", "b2", "x1", "x2")] == pytest.approx(expected, abs=6e-4)
    assert last["loss"] == pytest.approx([loss.item(), 1], abs=6e-4)

    assert known == sorted(known)
    assert all(len(shown) == 2 for shown in last.values())
    computed = re.findall(r"= ([^=]*) = (-?[\d.]+)(?:;|$)", "\n".join(said), re.MULTILINE)
    assert len(computed) == len(said) - 1  # the gradient of the loss itself is given
    for computation, result in computed:
        assert eval(computation, {"exp": math.exp, "log": math.log}) == pytest.approx(float(result), abs=4e-3)
