"""A Chromium that the machine has, what it shows of a run, and axe-core, which finds what is hard to see or to use."""

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gpt.base.errors import UserError
from gpt.data.download import npm_package
from gpt.playground import inspect
from gpt.session.trained import TrainedRun
from tests.conftest import REPOSITORY
from tests.extras import require_extra

_AXE = "axe-core@4.14.1"
_AXE_SHA256 = "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745"
_PATIENCE = 120_000  # milliseconds, on a busy machine


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Playwright's browser. Skips the test if the machine has no Chromium."""
    require_extra("dev")
    from playwright.sync_api import sync_playwright

    path = chromium_path()
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield browser
        browser.close()


def chromium_path() -> str:
    """The program. Skips the test if the machine has no Chromium."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    return path


class Visit:
    """A page, opened in a window of some width and theme; it must be free of errors at the end."""

    def __init__(self, browser: Any, address: str, width: int = 1280, theme: str = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
        self.context.set_default_timeout(_PATIENCE)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on(
            "console", lambda message: message.type in ("error", "warning") and self.errors.append(message.text)
        )
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(address)
        self.settled()

    def settled(self) -> None:
        """Wait until the page has nothing more to do."""
        self.page.wait_for_timeout(400)  # longer than the page waits for more to be typed
        self.page.wait_for_selector("main[aria-busy=false]")

    def ask(self, prompt: str) -> None:
        """Type a prompt."""
        self.page.fill("#prompt", prompt)
        self.settled()

    def go(self, **fields: object) -> None:
        """Generate, with these fields."""
        for name, value in fields.items():
            self.page.fill(f"#{name}", str(value))
        self.page.click("#go")
        self.settled()

    def click(self, selector: str, number: int = 0) -> None:
        """Click on the first thing of a kind, or on the one with this number."""
        self.page.locator(selector).nth(number).click()
        self.settled()

    def slide(self, name: str, value: float) -> None:
        set_it = "(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }"
        self.page.locator(f"#{name}").evaluate(set_it, value)

    def text(self, selector: str) -> str:
        return self.page.locator(selector).first.inner_text()

    def check_look(self) -> None:
        """Nothing sticks out at the side, and axe-core finds nothing that is hard to read or to use."""
        assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert violations(self.page) == []

    def close(self) -> None:
        self.context.close()
        assert self.errors == []


@contextlib.contextmanager
def visit(browser: Any, address: str, **window: Any) -> Iterator[Visit]:
    visited = Visit(browser, address, **window)
    yield visited
    visited.close()


def downloads() -> Path:
    """The folder where downloads are kept: the user's own, unless it is marked as read-only."""
    given = Path(os.environ.get("GPT_DATA_DIR", REPOSITORY / "data"))
    return given if given.exists() and given.stat().st_mode & stat.S_IWUSR else REPOSITORY / "data"


def axe() -> str:
    """The source of axe-core, downloaded once. Skips the test if it cannot be had."""
    try:
        return npm_package(downloads(), _AXE, ("axe.min.js",), _AXE_SHA256)["axe.min.js"].decode()
    except UserError as error:
        pytest.skip(str(error))


def violations(page: Any) -> list[str]:
    """What axe-core finds wrong with a page, contrast included."""
    page.evaluate(axe())
    found = page.evaluate("async () => (await axe.run()).violations")
    return [f"{v['id']}: {node['html'][:200]} {node['failureSummary']}" for v in found for node in v["nodes"][:3]]


PROMPT = "Abc de.\nFgh ij"
POSITION = 5  # the token that is selected, predicted from the five before it; the window has three more
TOLERANCE = 1e-4

_READ_STRIPS = r"""() => [...document.querySelectorAll(".inside .strip")].map((strip) => {
  const shown = [...strip.querySelectorAll(".cells i")].map((cell) => {
    cell.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
    return strip.querySelector(".strip-number").lastChild.textContent.replace("\u2212", "-");
  });
  return [strip.dataset.path, shown.map(Number)];
})"""


def opened(visited: Visit, *names: str, position: int = POSITION) -> None:
    """Select a token and open these parts of the page."""
    visited.ask(PROMPT)
    visited.click(".panel.a .text span", position)
    for name in names:
        visited.page.click(f".inside details.{name} > summary")
    looked(visited)


def looked(visited: Visit) -> None:
    """Wait until the inside of the run is shown."""
    visited.page.wait_for_timeout(100)
    visited.page.wait_for_selector(".inside[aria-busy=false]")
    busy = visited.page.locator(".ablation[aria-busy=true]")  # the page's policy forbids a script that polls
    while busy.count():
        busy.first.wait_for(state="detached")


def strips(visited: Visit) -> dict[str, Tensor]:
    """The numbers that each strip shows when one points at its cells."""
    return {path: torch.tensor(numbers) for path, numbers in visited.page.evaluate(_READ_STRIPS)}


def check_strips(visited: Visit, run: TrainedRun) -> set[str]:
    """Check the strips that show values of the forward pass; return their names."""
    expected, found = inside(run), strips(visited)
    for name in found.keys() & expected.keys():
        assert found[name].sub(expected[name]).abs().max() <= TOLERANCE, name
    return found.keys() & expected.keys()


def check_lens(visited: Visit, run: TrainedRun) -> list[str]:
    """Check the predictions that are read from the stream; return its points in their order."""
    rows = visited.page.locator(".lens-rows li").all()
    for row in rows:
        p = inside(run)[f"lens.{row.get_attribute('data-path')}"].softmax(-1)
        for bar in row.locator(".lens-bar").all():
            percent = float(bar.inner_text().split()[-1].rstrip("%"))
            assert percent == pytest.approx(100 * p[int(bar.get_attribute("data-token"))].item(), abs=0.0501)
        assert int(row.locator(".lens-bar").first.get_attribute("data-token")) == int(p.argmax())
    return [row.get_attribute("data-path") for row in rows]


def inside(run: TrainedRun) -> dict[str, Tensor]:
    """The values of the forward pass for the selected token, in the window of the prompt."""
    return inspect.inside(run, run.tokenizer.encode(PROMPT).tolist()[: run.model.block_size], POSITION - 1)


def losses(run: TrainedRun, off: Sequence[str] = ()) -> list[float]:
    """Of the prompt's tokens, with parts of the run turned off."""
    ids = run.tokenizer.encode(PROMPT)
    logits = inspect.logits(run, ids.tolist(), off)
    return torch.nn.functional.cross_entropy(logits[:-1], ids[1:], reduction="none").tolist()


def shown_losses(visited: Visit, text: str = ".panel.a .text") -> list[float]:
    spans = visited.page.locator(f"{text} >> nth=0 >> span:not(.end)").all()
    return [float(re.search(r"loss (\S+),", span.get_attribute("aria-label"))[1]) for span in spans[1:]]
