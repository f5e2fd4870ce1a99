"""Take the pictures of the playground that docs/playground.md and the README show.

    python docs/screenshots.py

This trains v3 and v5 with their documented settings, once, in docs/_generated/screenshots, and the site's recall, and
opens them in the machine's Chromium with Playwright (`pip install -e '.[docs,test]'`).
"""

import argparse
import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

_REPOSITORY = Path(__file__).parents[1]
sys.path.append(str(_REPOSITORY / "docs" / "_ext"))

from course_runs import COMMANDS  # noqa: E402

_IMAGES = _REPOSITORY / "docs" / "images"
_RUNS = _REPOSITORY / "docs" / "_generated" / "screenshots"
_RECALL = _REPOSITORY / "docs" / "_generated" / "runs" / "recall"
_SETTINGS = {_RUNS / "v3": ["model=v3"], _RUNS / "v5": ["model=v5"], _RECALL: COMMANDS["recall"]}
_PROMPT = "ROMEO:\nBut, soft! what light through yonder window breaks?\n"  # which the page suggests


def main() -> None:
    """Train what is missing, and replace the pictures."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for run, settings in _SETTINGS.items():
        if not (run / "summary.json").exists():
            command = [*settings, f"hydra.run.dir={run}", "resume=auto", "device=cpu"]
            subprocess.run([sys.executable, "train.py", *command], cwd=_REPOSITORY, check=True)
    playground = ["play.py", f"runs={_RUNS}", "model=v5", "port=0", "open=false", "device=cpu"]  # which shows v5 first
    with _chromium() as browser, _address(*playground) as address:
        _compared(browser, address).save(_IMAGES / "playground.png", optimize=True)
        _attention(browser, address).save(_IMAGES / "playground_attention.png", optimize=True)
    with _chromium() as browser, _address("play.py", f"run={_RECALL}", "port=0", "open=false", "device=cpu") as address:
        for theme in ("light", "dark"):
            _found(browser, address, theme).save(_IMAGES / f"recall-{theme}.png", optimize=True)


@contextlib.contextmanager
def _chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as started:
        yield started.chromium.launch(executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else [])


@contextlib.contextmanager
def _address(*command: str) -> Iterator[str]:
    """The address that a server says that it has."""
    with subprocess.Popen([sys.executable, *command], cwd=_REPOSITORY, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield next(found[0] for line in server.stdout or () if (found := re.search(r"http://[\w.:]+", line)))
        finally:
            server.terminate()


def _opened(browser: Any, address: str, width: int, height: int, theme: str = "light") -> Any:
    page = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme).new_page()
    page.set_default_timeout(600_000)
    page.goto(address)
    _settle(page)
    return page


def _settle(page: Any) -> None:
    page.wait_for_timeout(400)  # longer than the page waits for more to be typed
    page.wait_for_selector("main[aria-busy=false]")


def _picture(page: Any) -> Image.Image:
    """Of a page, or of a part of it."""
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def _select(page: Any, read: str) -> None:
    """Show what follows the first place of the prompt where it reads so."""
    page.locator("#panels .text > span").nth(_PROMPT.index(read) + len(read)).click()
    _settle(page)


def _compared(browser: Any, address: str) -> Image.Image:
    """v3 beside v5."""
    page = _opened(browser, address, 1280, 1640)
    for picker, stage in (("#first", "v3"), ("#second", "v5")):
        page.select_option(picker, page.locator(f"{picker} option", has_text=stage).get_attribute("value"))
        _settle(page)
    _select(page, "ROME")
    return _picture(page)


def _attention(browser: Any, address: str) -> Image.Image:
    """What one character attends to, in v5."""
    page = _opened(browser, address, 1280, 1760)
    _select(page, "win")
    return _picture(page)


def _found(browser: Any, address: str, theme: str) -> Image.Image:
    """How recall finds a digit."""
    page = _opened(browser, address, 440, 900, theme)
    page.get_by_label("Prompt").fill("k3p0q7z1p")
    _settle(page)
    return _picture(page.locator("figure.jumps"))


if __name__ == "__main__":
    main()
