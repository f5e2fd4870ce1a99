"""Training in the page against train.py: the same iterations of the same stages, in Chromium and in PyTorch.

    python benchmarks/browser.py              # 1,000 iterations of each stage, and the documented ones of v1 and v5
    python benchmarks/browser.py documented   # only these

Both make the same estimates and begin with the same weights. The clock of the page runs from the click on *Train* to
the last estimate; that of train.py from its first step to its last estimate. While the page trains, its views follow,
and the longest task of its main thread is measured.
"""

import gpt  # noqa: F401  # before torch, as in the scripts: it sets how threads wait

# isort: split
import contextlib
import functools
import http.server
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness import REPOSITORY, Row, alternate, arguments, kept, output, table, trained

STAGES = ("v1", "v2", "v3", "v5", "v6", "gru")
DOCUMENTED = {"v1": 16_000, "v5": 5_000}
_LONGEST_TASK = """() => {
  globalThis.longest = 0;
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) longest = Math.max(longest, duration);
  }).observe({ type: "longtask" });
}"""
_TRAIN = """async (iterations) => {
  const field = [...document.querySelectorAll("#training label")].find((label) => label.innerText === "Iterations");
  field.querySelector("input").value = iterations;
  const began = performance.now();
  document.querySelector("#training .primary").click();
  const said = `iteration ${iterations.toLocaleString("en")} of`;
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    if (document.querySelector("#training .primary").disabled &&
        document.querySelector("#training .progress").innerText.startsWith(said)) break;
  }
  return [(performance.now() - began) / 1000, document.querySelector("#training [role=status] b").innerText, longest];
}"""


def main() -> None:
    """Measure, and print the table."""
    given = arguments(__doc__, names=[*STAGES, "documented"])
    measured = [(stage, 1000) for stage in STAGES if stage in given.names]
    if "documented" in given.names:
        measured += DOCUMENTED.items()
    with kept(None) as folder, _chromium() as browser:
        rows, notes = list[Row](), list[str]()
        for stage, documented in measured:
            count = 20 if given.quick else documented
            runs, site = folder / f"{stage}_{count}", folder / f"{stage}_{count}_site"
            _in_pytorch(runs / stage, stage, count)
            output([sys.executable, str(REPOSITORY / "play.py"), f"runs={runs}", f"out={site}"], folder)
            with _served(site) as address:
                ours = functools.partial(_in_page, browser, f"{address}/#{stage}", count, notes, stage)
                theirs = functools.partial(_in_pytorch, folder / "again", stage, count)
                speeds = alternate(given.repeats, ours, theirs)
            rows.append(Row(f"{stage}, {count:,} iterations in the page", "/s", speeds, "train.py", True))
    print(table(rows), *notes, sep="\n")


def _in_pytorch(folder: Path, stage: str, iterations: int) -> float:
    """Iterations per second of train.py."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    settings = [
        f"model={stage}",
        f"training.max_iters={iterations}",
        f"training.eval_interval={max(1, iterations // 10)}",
    ]
    run = trained(folder, *settings, "checkpoint.snapshots=1", "device=cpu")
    return iterations / run.summary().seconds


def _in_page(browser: Any, address: str, iterations: int, notes: list[str], stage: str) -> float:
    page = browser.new_page()
    page.set_default_timeout(600_000)
    page.goto(address)
    page.wait_for_selector("main[aria-busy=false]")
    page.evaluate(_LONGEST_TASK)
    seconds, loss, longest = page.evaluate(_TRAIN, iterations)
    page.close()
    notes.append(f"{stage}: {seconds:.1f} s, estimated loss {loss}, longest task of the main thread {longest:.0f} ms")
    return iterations / seconds


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def _served(site: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextlib.contextmanager
def _chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright  # of the extra `test`

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        sys.exit("no Chromium is installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


if __name__ == "__main__":
    main()
