"""Runs to look at, and a server that shows them."""

import contextlib
import functools
import http.client
import http.server
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import gpt
from gpt.config.schema import Weights
from gpt.runs.finding import finished_runs
from gpt.session.trained import TrainedRun
from tests.conftest import REPOSITORY, Once, Script, small_corpus, succeeded
from tests.extras import require_extra
from tests.playground.browsing import chromium, downloads

MANY_ALPHABETS = "\n".join([small_corpus(), "Don't we'll naïve café, 東京は夜 😀 \r\n\t  x = 1234;\n\n" * 100])

_SHORT = ("training.max_iters=40", "training.eval_interval=20")

STAGES = ["v1", "v2", "v6", "v8"]  # of the page without a server; exporting more of them takes minutes
MOMENTS = [0, 1, 2, 6, 16, 40]  # of the training of v1 and v6, which is of 40 iterations


@pytest.fixture(scope="module")  # other tests of the process may need an event loop of their own
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def several(script: Script, corpus_file: Path, once: Once) -> Path:
    """A working folder with a run of some stages, and one that translates, the newest of them v6.

    Those of v1 and v6 kept their weights at some moments, and their last are the best.
    """

    def train(folder: Path) -> None:
        own = ["training.batch_size=16", "training.learning_rate=1e-2", "data=text", f"data.path={corpus_file}"]
        brief, kept = ["training.eval_iters=2"], ["training.eval_iters=20", "checkpoint.snapshots=5"]
        settings = {
            "transformer": ["experiment=copy", "training.batch_size=512", "schedule.warmup_iters=10"],
            "v8": [*brief, "model.block_size=32", "model.n_embd=32", "model.n_head=4", "model.n_layer=1"],
            "gru": brief,
            "v1": kept,
            "v2": brief,
            "v4": brief,
            "v6": [*kept, "model.n_layer=2"],
        }
        for stage, given in settings.items():
            given = given if stage == "transformer" else [f"model={stage}", *own, *given]
            succeeded(script("train.py", *_SHORT, *given, cwd=folder))
        for run in finished_runs(folder / "runs", stages=["v1", "v6"]):
            assert run.folder.snapshots() == MOMENTS
            assert run.summary.best.weights == MOMENTS[-1]

    return once("several", train)


@pytest.fixture(scope="session")
def published(several: Path, script: Script, once: Once) -> Path:
    """The page of these runs without a server, as `play.py` writes it."""

    def write(folder: Path) -> None:
        out, listed = folder / "site", finished_runs(several / "runs", stages=[*STAGES, "transformer"])
        runs = ",".join(f"'{run.folder.path}'" for run in listed)
        done = succeeded(script("play.py", f"out={out}", f"runs=[{runs}]", f"data.dir={downloads()}", cwd=folder))
        assert "transformer: translator.onnx: equal within" in done.stdout
        for stage in STAGES:
            assert f"{stage}: model.onnx: equal within" in done.stdout
        assert done.stdout.count(f"model.onnx: equal to the run at {len(MOMENTS)} moments of its training") == 2

    return once("published", write) / "site"


@pytest.fixture(scope="session")
def load(several: Path) -> Callable[..., TrainedRun]:
    """The run of a stage, at a moment of its training if that is given."""

    def of(stage: str, weights: Weights = "auto") -> TrainedRun:
        return gpt.load(runs=several / "runs", stage=stage, weights=weights, device="cpu")

    return of


@pytest.fixture(scope="session")
def served(several: Path) -> Iterator["Served"]:
    """A server of these runs."""
    with serving(several / "runs") as server:
        yield server


@pytest.fixture(scope="session")
def site(published: Path) -> Iterator[str]:
    """The address of the page of these runs without a server."""
    with serving_files(published) as address:
        yield address


@pytest.fixture(scope="session")
def tokenized(once: Once) -> Path:
    """A working folder with runs of bytes, subwords and words, of a text in several alphabets."""

    def train(folder: Path) -> None:
        (folder / "input.txt").write_text(MANY_ALPHABETS)
        short = ["training.max_iters=20", "training.eval_interval=20", "training.eval_iters=1", "training.batch_size=8"]
        for tokens in ("bytes", "subwords", "words"):
            data = ["data=text", f"data.path={folder / 'input.txt'}", f"data.tokenizer={tokens}", "data.vocab_size=400"]
            gpt.train("model=v3", *data, *short, "device=cpu", folder=folder / "runs" / tokens)

    return once("tokenized", train)


@pytest.fixture(scope="session")
def counting(corpus_file: Path, once: Once) -> Path:
    """A run of v9, whose counts decide what follows a repeated text."""
    small = ["model.block_size=32", "model.n_embd=16", "model.n_head=2", "model.n_layer=1", "model.ngrams=3"]
    short = ["training.max_iters=30", "training.eval_interval=30", "training.eval_iters=1", "training.batch_size=8"]
    given = ["model=v9", "data=text", f"data.path={corpus_file}", *small, *short, "device=cpu"]
    return once("counting", lambda folder: gpt.train(*given, folder=folder / "runs" / "v9")) / "runs" / "v9"


class Served:
    """A running playground; requests are made as a browser would."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.host, _, port = address.removeprefix("http://").rpartition(":")
        self.port = int(port)

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=600)

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        return self._answer("GET", path, None, headers)

    def post(self, path: str, asked: Any, **headers: str) -> tuple[int, Any]:
        body = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
        return self._answer("POST", path, body, {"Content-Type": "application/json"} | headers)

    def _answer(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, Any]:
        with contextlib.closing(self.connection()) as connection:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            content = response.read()
            is_json = response.headers["content-type"].startswith("application/json")
            return response.status, json.loads(content) if is_json else content

    def ids(self) -> dict[str, str]:
        """The id of the newest run of each stage."""
        return {run["stage"]: run["id"] for run in reversed(self.get("/api/runs")[1]["runs"])}


@contextlib.contextmanager
def serving(runs: Path) -> Iterator[Served]:
    """The playground of some runs, in a thread of this process."""
    require_extra("play")
    from gpt.playground.run_list import RunList
    from gpt.playground.server import LOCAL, server_of
    from gpt.playground.trainings import Trainings

    run_list = RunList([runs], None, device="cpu")
    server = server_of(run_list, Trainings(runs, runs.parent / "data"), LOCAL)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield Served(f"http://127.0.0.1:{bound.getsockname()[1]}")
        finally:
            server.should_exit = True
            thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Write no line a request, which would be among the output that another test captures."""


@contextlib.contextmanager
def serving_files(site: Path) -> Iterator[str]:
    """The address of a folder that is served as files, and as nothing else."""
    handler = functools.partial(_Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextlib.contextmanager
def started(folder: Path, *arguments: str) -> Iterator[tuple[Served, subprocess.Popen]]:
    """`python play.py` in a process, as a user would start it."""
    command = [sys.executable, str(REPOSITORY / "play.py"), "open=false", "port=0", *arguments]
    with (folder / "errors.txt").open("w+") as errors:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            assert process.stdout is not None
            address = re.search(r"http://\S+", process.stdout.readline())
            assert address is not None, (folder / "errors.txt").read_text()
            served = Served(address[0])
            while True:
                with contextlib.suppress(OSError):
                    served.get("/icon.svg")
                    break
                time.sleep(0.1)
            yield served, process
        finally:
            process.kill()
            process.wait()
