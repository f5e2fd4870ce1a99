"""How long the playground takes from a keystroke to the picture, with v6: losses and the next prediction.

    python benchmarks/keystrokes.py

Attention and what it rests on are drawn after these. Needs Chromium and Playwright, and for the page without a server
onnxruntime-web, which is downloaded once.
"""

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import DATA, QUICK_TRAINING, REPOSITORY, Measured, Row, arguments, output, table, train_command
from playwright.sync_api import sync_playwright

_KEYS = 20  # pressed in each repeat

# The milliseconds until each keystroke is drawn; the next one waits until the page has drawn everything.
_PRESSED = """async (keys) => {
  const prompt = document.querySelector("#prompt");
  const bars = document.querySelector(".panel.a .distribution").parentElement;
  const times = [];
  for (let i = 0; i < keys; i++) {
    const pressed = performance.now();
    prompt.value += "a";
    prompt.dispatchEvent(new Event("input", { bubbles: true }));
    await new Promise((drawn) => {
      new MutationObserver((_, observer) => {
        observer.disconnect();
        requestAnimationFrame(drawn);
      }).observe(bars, { childList: true });
    });
    times.push(performance.now() - pressed);
    while (document.querySelector("main").ariaBusy !== "false") await new Promise((r) => setTimeout(r, 20));
  }
  return times;
}"""


def rows(repeats: int, *, quick: bool) -> list[Row]:
    """The median of each repeat."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        output(train_command("model=v6", "device=cpu", f"hydra.run.dir={folder / 'run'}", *QUICK_TRAINING), folder)
        play = [sys.executable, str(REPOSITORY / "play.py"), f"runs={folder / 'run'}"]
        output([*play, f"out={folder / 'site'}"], folder)
        static = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
        static += [f"--directory={folder / 'site'}"]
        engines = {"with the server": [*play, "port=0", "open=false"], "without a server": static}
        found = []
        for engine, command in engines.items():
            with _served(command, folder) as address, _page(address) as page:
                page.evaluate(_PRESSED, 2)  # which do not count
                times = [page.evaluate(_PRESSED, 2 if quick else _KEYS) for _ in range(repeats)]
            measured = Measured([statistics.median(some) for some in times], [])
            found.append(Row(f"v6, a keystroke in the playground, {engine}", "ms", measured))
        return found


@contextmanager
def _served(command: list[str], folder: Path) -> Iterator[str]:
    """The address that a server prints."""
    environment = os.environ | {"GPT_DATA_DIR": str(DATA), "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # http.server logs each request
    ) as server:  # fmt: skip
        try:
            yield next(found[0] for line in server.stdout or () if (found := re.search(r"http://[\w.:]+", line)))
        finally:
            server.terminate()


@contextmanager
def _page(address: str) -> Iterator[Any]:
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("main[aria-busy=false] .panel.a .distribution")
        yield page
        browser.close()


if __name__ == "__main__":
    given = arguments(__doc__)
    print(table(rows(given.repeats, quick=given.quick)))
