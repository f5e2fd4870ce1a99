"""The inside of a run in the page: every number that is shown is the run's, with a server and without."""

import itertools
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from gpt.inspection.dataflow import dataflow
from gpt.playground import inspect
from gpt.session.trained import TrainedRun
from tests.playground.browsing import (
    POSITION,
    PROMPT,
    TOLERANCE,
    Visit,
    check_lens,
    check_strips,
    inside,
    looked,
    losses,
    opened,
    shown_losses,
    strips,
    visit,
)
from tests.playground.conftest import Served

MINUS = "\N{MINUS SIGN}"

Addresses = dict[str, dict[str, str]]  # by engine and stage
Load = Callable[[str], TrainedRun]


@pytest.fixture
def addresses(served: Served, site: str) -> Addresses:
    """The page on each stage, by engine."""
    ids = served.ids()
    return {
        "server": {stage: f"{served.address}/#{ids[stage]}" for stage in ids},
        "onnx": {stage: f"{site}/#{stage}" for stage in ids},
    }


def facts(visited: Visit) -> dict[str, str]:
    found = visited.page.locator(".facts [data-fact]").all()
    return {fact.get_attribute("data-fact"): fact.locator("dd").inner_text().replace(MINUS, "-") for fact in found}


@pytest.mark.parametrize(
    ("engine", "stage"), [("server", "v1"), ("server", "v2"), ("server", "v4"), ("server", "v6"), ("onnx", "v8")]
)
def test_the_numbers_of_each_step_are_the_runs(
    browser: Any, addresses: Addresses, load: Load, engine: str, stage: str
) -> None:
    run = load(stage)
    expected = inside(run)
    prefixes = sorted(name.removesuffix("attention.q") for name in expected if name.endswith("attention.q"))
    with visit(browser, addresses[engine][stage]) as visited:
        opened(visited, "steps")
        compared = set()
        for layer, prefix in enumerate(prefixes or [None]):
            if len(prefixes) > 1:
                visited.page.click(f"[data-focus=layer{layer}]")
            compared |= check_strips(visited, run)
            if prefix is not None:
                own = {name.removeprefix(prefix): x for name, x in expected.items()}
                _check_attention(visited, own, strips(visited))
        assert "logits" in compared
        for name in expected:
            if name.endswith(("token", "position", "_norm", "_shift", ".0", ".1", "embedding", "trust")):
                assert name in compared or name.startswith("lens"), name
        for row in visited.page.locator("table.logits tbody tr").all():
            cells = [cell.replace(MINUS, "-") for cell in row.locator("td").all_inner_texts()]
            if row.get_attribute("data-token") is None:  # the sum
                assert float(cells[1]) == pytest.approx(expected["logits"].exp().sum().item(), rel=TOLERANCE)
                continue
            token, (logit, power, p) = int(row.get_attribute("data-token")), map(float, cells)
            assert logit == pytest.approx(expected["logits"][token].item(), abs=TOLERANCE)
            assert power == pytest.approx(expected["logits"][token].exp().item(), rel=TOLERANCE, abs=TOLERANCE)
            assert p == pytest.approx(expected["logits"].softmax(-1)[token].item(), abs=TOLERANCE)


def _check_attention(visited: Visit, expected: dict[str, Tensor], named: dict[str, Tensor]) -> None:
    """The weights, the sum of the values, the heads, one cell, and a masked one."""
    weights, v = expected["attention.weights"], expected["attention.v"]
    H, T = weights.shape
    shown = visited.page.locator(".cells-table .cell").all_inner_texts()
    is_masked = torch.arange(T) >= POSITION
    for (h, s), text in zip(itertools.product(range(H), range(T)), shown, strict=True):
        assert text.isdigit() != bool(is_masked[s])
        assert is_masked[s] or float(text) == pytest.approx(100 * weights[h, s].item(), abs=0.51)
    for h in range(H if H > 1 else 0):
        assert named[f"heads.{h}"].sub(expected["attention.heads"][h]).abs().max() <= TOLERANCE
    head, key = H - 1, 1
    visited.page.click(f"[data-focus=cell{head}-{key}]")
    found, named = facts(visited), strips(visited)
    q, k = expected["attention.q"][head], expected["attention.k"][head, key]
    for name, value in {"q": q, "k": k, "products": q * k}.items():
        assert named[f"cell.{name}"].sub(value).abs().max() <= TOLERANCE
    terms = [numbers for path, numbers in named.items() if re.fullmatch(r"sum\.\d+", path)]
    assert len(terms) == POSITION
    for s, term in enumerate(terms):
        assert term.sub(weights[head, s] * v[head, s]).abs().max() <= TOLERANCE
    assert named["sum.head"].sub(expected["attention.heads"][head]).abs().max() <= TOLERANCE
    scaled = (q * k).sum() / len(q) ** 0.5
    assert float(found["score"]) == pytest.approx((q * k).sum().item(), abs=TOLERANCE)
    assert float(found["scaled"]) == pytest.approx(scaled.item(), abs=TOLERANCE)
    assert float(found["exponential"]) == pytest.approx(scaled.exp().item(), abs=TOLERANCE, rel=1e-4)
    assert float(found["weight"]) == pytest.approx(weights[head, key].item(), abs=TOLERANCE)
    assert float(found["exponential"]) / float(found["total"]) == pytest.approx(float(found["weight"]), abs=1e-3)
    assert found["masked"] == "kept"
    powers = ((expected["attention.k"][head, :POSITION] @ q) / len(q) ** 0.5).exp()
    assert named["cell.exponentials"].sub(powers).abs().max() <= TOLERANCE * max(1, powers.max().item())
    for name in "qkv":
        x = expected[f"attention.{name}"]
        assert named[f"qkv.{name}"].sub((x if name == "q" else x[:, POSITION - 1]).flatten()).abs().max() <= TOLERANCE
    visited.page.click(f"[data-focus=cell{head}-{POSITION}]")
    found = facts(visited)
    assert (found["masked"], found["weight"]) == ("-∞", "0.0000")
    score = (q * expected["attention.k"][head, POSITION]).sum().item()
    assert float(found["score"]) == pytest.approx(score, abs=TOLERANCE)


def test_the_lens_shows_what_each_layer_would_predict(browser: Any, addresses: Addresses, load: Load) -> None:
    run = load("v6")
    expected = {name.removeprefix("lens."): x for name, x in inside(run).items() if name.startswith("lens.")}
    with visit(browser, addresses["server"]["v6"]) as visited:
        opened(visited, "lens")
        paths = check_lens(visited, run)
        assert paths[:2] == ["embedding", "blocks.0.attention"]
        assert sorted(paths) == sorted(expected)
        assert visited.page.locator(".lens-rows .lens-bar.next").count() == len(paths)
        for before, path, argued in zip(
            paths, paths[1:], visited.page.locator(".argued b:first-child").all_inner_texts(), strict=False
        ):
            change = expected[path] - expected[before]
            assert f"+{(change - change.mean()).max().item():.2f}" in argued


@pytest.mark.parametrize(
    ("engine", "stage", "button", "off"),
    [("onnx", "v6", "layer 1, all of it off", "blocks.0"), ("server", "v2", "positions off", "positions")],
)
def test_a_click_turns_a_part_off_and_every_loss_changes(
    browser: Any, addresses: Addresses, load: Load, engine: str, stage: str, button: str, off: str
) -> None:
    run = load(stage)
    with visit(browser, addresses[engine][stage]) as visited:
        opened(visited, "off")
        switch = visited.page.get_by_role("button", name=button)
        for click, pressed, parts in ((None, "false", []), (switch, "true", [off]), (".switches .quiet", "false", [])):
            if click is not None:
                visited.page.locator(click).click() if isinstance(click, str) else click.click()
                looked(visited)
            assert switch.get_attribute("aria-pressed") == pressed
            expected = losses(run, parts)
            assert shown_losses(visited, ".ablation .text") == pytest.approx(expected, abs=0.0051)
            assert visited.text(".effect .after") == f"{sum(expected) / len(expected):.2f}"


def test_it_is_computed_when_opened(browser: Any, addresses: Addresses) -> None:
    with visit(browser, addresses["server"]["v6"]) as visited:
        asked: list[str] = []
        visited.page.on("request", lambda request: asked.append(request.url.rsplit("/", 1)[-1]))
        opened(visited)
        assert "logits" in asked
        assert "inside" not in asked
        assert not visited.page.locator(".stepper").is_visible()
        visited.page.click(".inside details.steps > summary")
        looked(visited)
        assert asked.count("inside") == 1
        visited.page.get_by_role("button", name="Step through").focus()
        for step in (1, 2, 3):
            visited.page.keyboard.press("Enter")
            assert visited.text(".stepper [role=status]").startswith(f"step {step} of ")
            assert visited.page.locator(".step").nth(step - 1).get_attribute("aria-current") == "step"
        assert "new in v6" in visited.page.locator(".step.new").first.inner_text()
        visited.ask("")
        looked(visited)
        assert visited.page.locator(".strip").count() == 0


def test_one_query_meets_each_key_and_fetches_the_values(browser: Any, addresses: Addresses, load: Load) -> None:
    expected = {name.removeprefix("blocks.0.attention."): x for name, x in inside(load("v6")).items()}
    D = expected["q"].shape[-1]
    with visit(browser, addresses["server"]["v6"]) as visited:
        opened(visited, "steps")
        view = visited.page.locator(".attending")
        said = view.get_by_role("status")
        assert "asks; these answer: " in said.inner_text()
        assert not view.locator(".reads").is_visible()
        view.get_by_role("button", name="Step on").press("Enter")
        assert view.locator(".met").count() == 0
        for key in range(POSITION):
            view.get_by_role("button", name="Step on").press("Enter")
            score = re.search(rf"q · k / √{D} = (\S+)\.$", said.inner_text().replace(MINUS, "-"))[1]
            assert float(score) == pytest.approx(expected["scores"][0, key].item() / D**0.5, abs=TOLERANCE)
            assert view.locator(".met").count() == key + 1
        view.get_by_role("button", name="Step on").press("Enter")
        weights = expected["weights"][0, :POSITION]
        assert said.inner_text().endswith(f"{weights.max():.4f}.")
        assert [float(text.rstrip("%")) for text in view.locator(".weight").all_inner_texts()] == pytest.approx(
            (100 * weights).tolist(), abs=0.51
        )
        view.get_by_role("button", name="Play").click()
        view.get_by_role("button", name="Play").wait_for()  # "Pause" until it has come to the end
        assert said.inner_text() == "Their sum is what head 1 has read."
        visited.page.emulate_media(reduced_motion="reduce")
        visited.page.click("[data-focus=cell1-0]")
        assert not view.get_by_role("button", name="Play").is_visible()
        assert view.get_by_role("button", name="Step back").is_visible()


@pytest.mark.parametrize("stage", ["v2", "v6"])
def test_the_picture_matches_the_course_and_follows_the_steps(
    browser: Any, addresses: Addresses, load: Load, stage: str
) -> None:
    rows = dataflow(load(stage).model)
    with visit(browser, addresses["server"][stage]) as visited:
        opened(visited, "steps")
        shown = visited.page.locator(".picture :is(.part, .data)").all_inner_texts()
        assert [text for text in shown if text not in ("+", "2 blocks")] == [
            part.label for row in rows for part in row.parts
        ]
        assert (shown.count("+"), shown.count("2 blocks")) == ((0, 0) if stage == "v2" else (2, 1))
        shapes = visited.page.locator(".picture .shape").all_inner_texts()
        assert [text.removeprefix("↓ ") for text in shapes] == [row.shape for row in rows if row.shape]
        new = visited.page.locator(".picture .part.new").all_inner_texts()
        assert new == [part.label for row in rows for part in row.parts if part.since == stage]
        assert visited.page.locator(".picture .part:disabled").count() == 0  # each belongs to a step
        visited.page.get_by_role("button", name="Step through").click()
        walked = []
        while True:
            here = visited.page.locator(".picture [aria-current]").all_inner_texts()
            assert here, visited.text(".step[aria-current] h4")
            walked += [part for part in here if part not in walked]
            if not (following := visited.page.get_by_role("button", name="Next")).is_enabled():
                break
            following.click()
        assert set(walked) == set(shown) - {rows[0].parts[0].label, rows[-1].parts[0].label}
        visited.page.locator(".picture .part", has_text="output layer").click()
        assert visited.text(".step[aria-current] h4").startswith("Output layer and softmax")


def test_without_attention_one_sees_how_far_back_a_run_reads(browser: Any, addresses: Addresses, load: Load) -> None:
    run = load("gru")
    window = run.tokenizer.encode(PROMPT).tolist()[-run.model.block_size :]
    moved = inspect.interventions(run, window)["moved"].tolist()
    with visit(browser, addresses["server"]["gru"]) as visited:
        visited.page.evaluate("document.getElementById('panels').hidden = true")  # as a frame that is not shown yet
        visited.ask(PROMPT)
        visited.page.evaluate("document.getElementById('panels').hidden = false; dispatchEvent(new Event('resize'))")
        visited.settled()
        assert visited.page.locator(".contexts svg").bounding_box()["width"] > 200
        assert visited.page.locator(".contexts rect").count() == len(moved) == len(window)
        said = visited.page.locator(".contexts [role=img]").get_attribute("aria-label")
        expected = [moved[n - 1] for n in (1, 2, 4, 8)]
        assert [float(share) for share in re.findall(r"([\d.]+)%", said)] == pytest.approx(
            [100 * share for share in expected], abs=0.051
        )
        assert "How far back it reads" in visited.text(".panel.a")
