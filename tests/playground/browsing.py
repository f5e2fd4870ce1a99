"""A Chromium that the machine has, and axe-core, which checks what a page is like for those who cannot see it well."""

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpt.base.errors import UserError
from gpt.data.download import npm_package
from tests.conftest import REPOSITORY

_AXE = "axe-core@4.14.1"
_AXE_SHA256 = "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745"
_PATIENCE = 120_000  # milliseconds, on a busy machine


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Playwright's browser. Skips the test if the machine has no Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = chromium_path()
    with playwright.sync_playwright() as started:
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
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(address)
        self.settled()

    def settled(self) -> None:
        """Wait until the page has nothing more to do."""
        self.page.wait_for_timeout(400)  # longer than the page waits for more to be typed
        self.page.wait_for_selector("main[aria-busy=false]")

    def text(self, selector: str) -> str:
        return self.page.locator(selector).first.inner_text()

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
