"""The slider over the moments of a training: every number that the page shows there is the run's at that moment."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import gpt
from gpt.playground import inspect, static
from gpt.runs.folder import RunFolder
from gpt.runs.weights import save_weights
from gpt.session.trained import TrainedRun
from tests.playground.browsing import (
    POSITION,
    PROMPT,
    Visit,
    check_lens,
    check_strips,
    looked,
    losses,
    opened,
    shown_losses,
    visit,
)
from tests.playground.conftest import MOMENTS, Served, serving

SLIDER = "Point in training"

Load = Callable[..., TrainedRun]
Address = Callable[[str, str], str]


@pytest.fixture
def address(served: Served, site: str) -> Address:
    """The page's address, of an engine and a stage."""
    ids = served.ids()
    return lambda engine, stage: f"{site}/#{stage}" if engine == "onnx" else f"{served.address}/#{ids[stage]}"


def scrub(visited: Visit, iteration: int) -> None:
    """Move the slider there with the keyboard."""
    slider = visited.page.get_by_label(SLIDER)
    slider.press("Home")
    for _ in range(MOMENTS.index(iteration)):
        slider.press("ArrowRight")
    settled(visited)


def settled(visited: Visit) -> None:
    visited.page.wait_for_selector("main[aria-busy=false]")
    looked(visited)


@pytest.mark.parametrize("engine", ["server", "onnx"])
def test_every_number_is_that_of_the_moment(browser: Any, address: Address, load: Load, engine: str) -> None:
    with visit(browser, address(engine, "v6")) as visited:
        opened(visited, "steps", "lens", "off")
        for iteration in (0, 40, 16):  # back, too
            scrub(visited, iteration)
            run = load("v6", iteration)
            own, ids = losses(run), run.tokenizer.encode(PROMPT).tolist()
            assert shown_losses(visited) == pytest.approx(own, abs=0.0051)
            assert visited.text(".mean").startswith(f"prompt {sum(own) / len(own):.2f} nats per character")
            p = inspect.logits(run, ids)[POSITION - 1].softmax(-1)
            label = visited.page.locator(".distribution svg").get_attribute("aria-label")
            assert f"{100 * p.max():.1f}%" in label
            assert f"a loss of {own[POSITION - 1]:.2f} nats" in visited.text(".answer")
            assert "logits" in check_strips(visited, run)
            _check_inside(visited, run, ids[:POSITION], p)


def _check_inside(visited: Visit, run: TrainedRun, window: list[int], p: Tensor) -> None:
    """Attention, the prediction without it, the lens, and the text with and without a layer's heads."""
    heads = [head for layer in inspect.attention(run, window).values() for head in layer]
    lit = [
        float(x)
        for x in visited.page.locator(".panel.a .text")
        .first.locator("span")
        .evaluate_all("spans => spans.map((span) => span.style.getPropertyValue('--look') || 0)")
    ]
    row = torch.stack(heads).mean(0)[-1]
    assert lit[:POSITION] == pytest.approx((row / row.max()).tolist(), abs=2e-3)
    off, likeliest = inspect.interventions(run, window)["without_attention"].softmax(-1), int(p.argmax())
    said = f"is {100 * p[likeliest]:.1f}%; with all attention off, it is {100 * off[likeliest]:.1f}%"
    assert said in visited.text(".tested")
    assert check_lens(visited, run)[-1] == "blocks.1.feed_forward"
    for parts in ([f"blocks.0.attention.{head}" for head in range(4)], []):
        visited.page.get_by_role("button", name="layer 1, all heads off").click()
        looked(visited)
        assert shown_losses(visited, ".ablation .text") == pytest.approx(losses(run, parts), abs=0.0051)


def test_the_run_of_the_moment_writes_and_reads(browser: Any, address: Address, load: Load) -> None:
    with visit(browser, address("server", "v6")) as visited:
        visited.ask(PROMPT)
        scrub(visited, 2)
        visited.go(tokens=40)
        spans = visited.page.locator(".panel.a .text").first.locator(".written")
        written = spans.all_text_contents()
        assert "".join(written).replace("↵", "") == load("v6", 2).generate(PROMPT, tokens=40)
        before = shown_losses(visited)
        scrub(visited, 40)
        assert spans.all_text_contents() == written
        assert shown_losses(visited) != before
        visited.page.route(
            "**/api/text", lambda route: None
        )  # moved while it writes, it stops, and reads what is there
        visited.page.click("#go")
        visited.page.locator(".mean", has_text="generating").wait_for()
        scrub(visited, 1)
        assert shown_losses(visited) == pytest.approx(losses(load("v6", 1)), abs=0.0051)


def hold(visited: Visit) -> tuple[list[int | None], list[Any]]:
    """The moments that the page asks for from now on, and the first request, which is not answered."""
    asked: list[int | None] = []
    held: list[Any] = []

    def kept(route: Any) -> None:
        asked.append(route.request.post_data_json["moment"])
        held.append(route) if len(asked) == 1 else route.continue_()

    visited.page.route("**/api/logits", kept)
    return asked, held


def test_the_moments_are_played_one_by_one(browser: Any, address: Address) -> None:
    with visit(browser, address("server", "v6")) as visited:
        visited.ask(PROMPT)
        asked, held = hold(visited)
        visited.page.get_by_role("button", name="Play").click()
        visited.page.wait_for_timeout(1200)  # more than a moment is shown for
        assert asked == [0]
        held[0].continue_()
        visited.page.get_by_role("button", name="Play").wait_for()  # which was the name of the other thing it does
        assert asked == [*MOMENTS[:-1], None]
        assert visited.text(".moments .value") == "40 of 40"
        visited.page.get_by_role("button", name="Play").click()
        visited.page.get_by_text("1 of 40").wait_for()
        visited.page.locator(".panel.a .text span").nth(3).click()
        asked.clear()
        visited.page.get_by_role("button", name="Play").wait_for()
        visited.page.wait_for_timeout(1200)
        assert asked == []


def test_a_moment_is_loaded_when_it_is_shown(browser: Any, address: Address) -> None:
    with visit(browser, address("onnx", "v1")) as visited:
        asked: list[str] = []
        visited.page.on("request", lambda request: asked.append(request.url.rsplit("/", 1)[-1]))
        scrub(visited, 0)
        assert [name for name in asked if name.endswith(".safetensors")] == ["0.safetensors"]
        scrub(visited, 40)  # at once: what lies between may be passed over
        assert "40.safetensors" not in asked  # what the page begins with came with it
        assert len(asked) == len(set(asked))


def test_a_damaged_snapshot_is_told_in_a_line(browser: Any, load: Load, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(load("v6").folder, tmp_path / "copy"))
    snapshot = copy / "snapshots" / "00000002.safetensors"
    snapshot.write_bytes(snapshot.read_bytes()[:-100])
    with serving(copy) as found:
        visited = Visit(browser, found.address)
        visited.ask(PROMPT)
        scrub(visited, 2)
        said = visited.text(".moments .failure")
        assert snapshot.name in said
        assert not visited.page.locator(".distribution").count()
        scrub(visited, 1)
        assert visited.text(".moments .failure") == ""
        assert shown_losses(visited) == pytest.approx(losses(load("v6", 1)), abs=0.0051)
        visited.context.close()  # the browser logs the refusal as an error


def test_the_moments_end_with_the_weights_that_are_shown(load: Load, tmp_path: Path) -> None:
    """A slider from the beginning to these weights: what came after them, as it overfitted, is not on the way."""
    run = RunFolder(shutil.copytree(load("v1").folder, tmp_path / "run"))
    save_weights(run, gpt.load(run.path, weights=16).model.state_dict(), "best", 20)
    for weights, moments, words in (
        ("auto", [0, 1, 2, 6, 16, 20], "best weights"),
        ("last", MOMENTS, "last weights"),
        (6, [0, 1, 2, 6], "weights after 6 iterations"),
        (0, [], "weights after 0 iterations"),
    ):
        described = static.in_full("v1", run, run.summary(), weights)
        assert (described["moments"], described["weights"]) == (moments, words)


@pytest.mark.parametrize(("engine", "width", "theme"), [("server", 1280, "light"), ("onnx", 390, "dark")])
def test_the_slider_fits_and_moves_nothing(
    browser: Any, address: Address, load: Load, engine: str, width: int, theme: str
) -> None:
    evaluations = {row.iteration: row.val for row in load("v6").evaluations}
    page = address(engine, "v6")
    with visit(browser, page.replace("/#", "/?embed#") if width == 390 else page, width=width, theme=theme) as visited:
        slider = visited.page.get_by_role("slider", name=SLIDER)
        assert slider.get_attribute("aria-valuetext") == "iteration 40 of 40, best weights"
        visited.page.evaluate("document.fonts.ready")
        places = set()
        for iteration in reversed(MOMENTS):
            scrub(visited, iteration)
            boxes = [
                visited.page.locator(part).first.bounding_box()
                for part in (".moments input", ".panel.a .text", ".distribution", ".attention")
            ]
            places.add(tuple((round(box["x"]), round(box["y"]), round(box["width"])) for box in boxes))  # in pixels
            if iteration == 16:
                assert slider.get_attribute("aria-valuetext") == "iteration 16 of 40"
                assert visited.text(".moments .value") == "16 of 40"
                assert visited.text(".moments .note") == f"Validation loss at 20: {evaluations[20]:.4f}"
        assert len(places) == 1
        assert visited.text(".moments .note") == f"Validation loss at 0: {evaluations[0]:.4f}"
        assert "with a mark at iteration 0" in visited.page.locator(".curve svg").get_attribute("aria-label")
        visited.page.evaluate("document.documentElement.style.background = 'Canvas'")  # a frame shows the page's
        visited.check_look()
