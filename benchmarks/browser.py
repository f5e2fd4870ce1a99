"""Training in the page against train.py: the same iterations of the same stages, in Chromium and in PyTorch.

    python benchmarks/browser.py              # 1,000 iterations of each stage, and the documented ones of v1 and v5
    python benchmarks/browser.py documented   # only these

Both make the same estimates and begin with the same weights. The clock of the page runs from the click on *Train* to
the last estimate; that of train.py from its first step to its last estimate. While the page trains, its views follow,
and the longest task of its main thread is measured.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from harness import REPOSITORY, Row, compared, kept, output, parser, table, trained

_STAGES = ("v1", "v2", "v3", "v5", "v6", "gru")
_DOCUMENTED = {"v1": 16_000, "v5": 5_000}
_LONGEST_TASK = """() => {
  globalThis.longest = 0;
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) longest = Math.max(longest, duration);
  }).observe({ type: "longtask" });
}"""
_TRAIN = """async (iterations) => {
  const field = [...document.querySelectorAll("#training label")].find((label) => label.textContent === "Iterations");
  field.querySelector("input").value = iterations;
  const began = performance.now();
  document.querySelector("#training .primary").click();
  const said = `iteration ${iterations.toLocaleString("en")} of`;
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    if (document.querySelector("#training .primary").innerText !== "Pause" &&
        document.querySelector("#training .progress").innerText.startsWith(said)) break;
  }
  return [(performance.now() - began) / 1000, document.querySelector("#training [role=status] b").innerText, longest];
}"""


def main() -> None:
    """Measure, and print the table."""
    given = parser(__doc__, names=(*_STAGES, "documented")).parse_args()
    works = [(stage, 1000) for stage in _STAGES if stage in (given.names or _STAGES)]
    works += _DOCUMENTED.items() if not given.names or "documented" in given.names else []
    with kept() as folder, _chromium() as browser:
        rows, notes = list[Row](), list[str]()
        for stage, documented in works:
            count = 20 if given.quick else documented
            runs, site = folder / f"{stage}_{count}", folder / f"{stage}_{count}_site"
            _in_pytorch(runs / stage, stage, count)
            output([sys.executable, str(REPOSITORY / "play.py"), f"runs={runs}", f"out={site}"], folder)
            with _served(site) as address:
                ours = partial(_in_page, browser, f"{address}#{stage}", count, notes, stage)
                theirs = partial(_in_pytorch, folder / "again", stage, count)
                work = f"{stage}, {count:,} iterations in the page"
                rows.append(compared(given, work, "/s", ours, "train.py", theirs))
    print(table(rows), *notes, sep="\n")


def _in_pytorch(folder: Path, stage: str, iterations: int) -> float:
    """Iterations per second of train.py."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(exist_ok=True)
    length = [f"training.max_iters={iterations}", f"training.eval_interval={max(1, iterations // 10)}"]
    run = trained(folder, f"model={stage}", *length, "checkpoint.snapshots=1", "device=cpu")
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


@contextlib.contextmanager
def _served(site: Path) -> Iterator[str]:
    command = [sys.executable, "-u", "-m", "http.server", "--bind=127.0.0.1", f"--directory={site}", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        try:
            yield re.findall(r"http://[\d.:]+/", server.stdout.readline())[0]
        finally:
            server.terminate()


@contextlib.contextmanager
def _chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright  # of the extra `test`

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        sys.exit("no Chromium is installed: apt-get install chromium")
    with sync_playwright() as started:
        yield started.chromium.launch(executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else [])


if __name__ == "__main__":
    main()
