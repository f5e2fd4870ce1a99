"""The playground over HTTP: what it answers, and whom."""

import asyncio
import contextlib
import json
import shutil
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import safetensors.torch
import torch

import gpt
from gpt.playground import inspect, requests, sample
from gpt.playground.run_list import RunList
from gpt.runs.folder import RunFolder
from gpt.tasks.decoding import sampling
from tests.playground.conftest import Served, serving


@pytest.fixture(scope="module")
def served(trained: Path) -> Iterator[Served]:
    with serving(trained / "runs") as server:
        yield server


@pytest.fixture(scope="module")
def run_id(served: Served) -> str:
    return served.ids()["v7"]


def asking(run_id: str, **changes: object) -> dict[str, object]:
    """What the page asks for a continuation."""
    settings = {"prompt": "Abc", "tokens": 40, "temperature": 0.8, "top_k": 5, "top_p": 0.9, "seed": 7}
    return {"run": run_id} | settings | changes


def test_the_page_and_its_parts_are_sent_confined(served: Served) -> None:
    for path, kind in (("/", "text/html"), ("/main.js", "text/javascript"), ("/vendor/d3.min.js", "text/javascript")):
        with contextlib.closing(served.connection()) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            assert response.status == 200
            assert response.headers["content-type"].startswith(kind)
            assert "default-src 'none'; script-src 'self'" in response.headers["content-security-policy"]
            assert response.headers["x-content-type-options"] == "nosniff"


def test_a_run_is_described_with_its_figures_and_its_curve(served: Served, run_id: str, trained: Path) -> None:
    run = gpt.load(runs=trained / "runs")
    listed = served.get("/api/runs")[1]
    assert listed["chosen"] == run_id
    described = served.get(f"/api/runs/{run_id}")[1]
    assert [loss["nats"] for loss in described["losses"] if loss["name"] == "exact"] == [run.summary.exact.nats]
    assert [row["val"] for row in described["curve"]] == [row.val for row in run.run.evaluations()]
    assert described["vocabulary"] == list(run.task.tokenizer.vocabulary)
    assert len(described["vocabulary"]) == described["vocabulary_size"]


def test_tensors_are_those_of_the_run(served: Served, run_id: str, trained: Path) -> None:
    run = gpt.load(runs=trained / "runs", device="cpu")
    ids = run.tokenizer.encode("Abcde").tolist()
    off = served.get(f"/api/runs/{run_id}")[1]["parts"][:2]
    for path, more, expected in (
        ("logits", {}, {"logits": inspect.logits(run, ids)}),
        ("logits", {"off": off}, {"logits": inspect.logits(run, ids, off)}),
        ("attention", {}, inspect.attention(run, ids)),
        ("inside", {"row": 2}, inspect.inside(run, ids, 2)),
    ):
        sent = safetensors.torch.load(served.post(f"/api/{path}", {"run": run_id, "ids": ids} | more)[1])
        assert sent.keys() == expected.keys()
        assert all(torch.equal(sent[name], value) for name, value in expected.items())


def test_texts_are_those_that_generate_py_prints(served: Served, run_id: str, trained: Path) -> None:
    run = gpt.load(runs=trained / "runs", device="cpu")
    options = {"tokens": 40, "temperature": 0.8, "top_k": 5, "top_p": 0.9}
    expected = {seed: run.generate("Abc", seed=seed, **options) for seed in range(30)}
    with ThreadPoolExecutor(30) as readers:
        answers = list(readers.map(lambda seed: served.post("/api/text", asking(run_id, seed=seed)), expected))
    assert answers == [(200, text.encode()) for text in expected.values()]


def test_a_character_that_takes_long_does_not_end_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first bytes are empty pieces, for longer than a turn."""
    monkeypatch.setattr(sample, "_TURN", 0.0)
    workers = sample.WorkerPool()

    async def written() -> list[str]:
        return [text async for text in workers.write(iter(["a", "", "", "", "é", "", "b", ""]))]

    assert asyncio.run(written()) == ["a", "é", "b"]
    workers.close()


def test_what_it_cannot_answer_it_refuses_in_a_line(served: Served, run_id: str) -> None:
    for path, changes, word in (
        ("inside", {"row": 5}, "this token"),
        ("logits", {"off": ["blocks.9"]}, "parts"),
        ("logits", {"ids": [0] * 2001}, "2,001"),
        ("attention", {"ids": [-1]}, "ids"),
        ("text", {"run": "0" * 12}, "such run"),
        ("text", {"run": "../../etc/passwd"}, "run=../../etc/passwd"),
        ("text", {"prompt": "é"}, "'é' (U+00E9)"),
        ("text", {"tokens": "9"}, "tokens=9"),
        ("text", {"more": 1}, "more"),
    ):
        asked = asking(run_id) if path == "text" else {"run": run_id, "ids": [1, 2, 3, 4, 5]}
        status, answer = served.post(f"/api/{path}", asked | changes)
        assert status == 422
        assert word in answer["error"]
        assert "\n" not in answer["error"]


def test_another_page_is_not_answered(served: Served, run_id: str) -> None:
    for headers in (
        {"Host": "evil.example:80"},
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "https://127.0.0.1"},
        {"Host": "127.0.0.1", "Origin": "http://evil.example"},
    ):
        for status, answer in (
            served.get("/api/runs", **headers),
            served.get("/", **headers),
            served.post("/api/text", asking(run_id), **headers),
        ):
            assert status == 403
            assert set(answer) == {"error"}


def test_its_own_page_is_answered_under_each_name(served: Served, run_id: str) -> None:
    for name in ("localhost", "127.0.0.1", "LOCALHOST", "[::1]"):
        host = f"{name}:{served.port}"
        assert served.get("/api/runs", Host=host, Origin=f"http://{host.lower()}")[0] == 200


def test_forms_and_large_requests_are_refused(served: Served, run_id: str) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        assert served.post("/api/text", asking(run_id), **{"Content-Type": kind})[0] == 415

    assert served.post("/api/text", b" " * (requests.LARGEST_BODY + 1))[0] == 413


@contextlib.contextmanager
def left(served: Served, path: str, body: bytes) -> Iterator[socket.socket]:
    """A request by a reader who leaves at the end of the context."""
    with socket.create_connection((served.host, served.port), timeout=60) as connection:
        head = f"POST /api/{path} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        yield connection


def test_writing_ends_when_the_reader_leaves(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in characters that the model was asked for, of the 1,000 that it would write."""
    written = 0
    original = sampling.generate

    def counted(*arguments: object, **options: object) -> Iterator[torch.Tensor]:
        nonlocal written
        for step in original(*arguments, **options):
            written += 1
            time.sleep(0.01)
            yield step

    monkeypatch.setattr(sampling, "generate", counted)
    with serving(trained / "runs") as served:
        body = json.dumps(asking(served.ids()["v7"], tokens=1000)).encode()
        with left(served, "text", body) as connection:
            assert connection.recv(100)
        time.sleep(1)
        soon = written
        time.sleep(1)
        assert written == soon < 500


def copies(trained: Path, root: Path, seconds: dict[str, int]) -> dict[str, RunFolder]:
    """Copies of a run that finished so many seconds after it, by name."""
    original = gpt.load(runs=trained / "runs").run
    summary, found = original.summary(), {}
    for name, later in seconds.items():
        found[name] = RunFolder(Path(shutil.copytree(original.path, root / name)))
        found[name].write_summary(summary.model_copy(update={"finished": summary.finished + timedelta(seconds=later)}))
    return found


def test_the_newest_run_comes_first(trained: Path, tmp_path: Path) -> None:
    runs = copies(trained, tmp_path, {"a": 1, "b": 3, "c": 2})
    run_list = RunList([tmp_path], runs["a"], device="cpu")
    assert [Path(brief["folder"]).name for brief in run_list.briefly()["runs"]] == ["b", "c", "a"]


def test_a_run_that_was_trained_further_is_reopened(trained: Path, tmp_path: Path) -> None:
    runs = copies(trained, tmp_path, {"a": 1})
    run_list = RunList([tmp_path], runs["a"], device="cpu")
    listed = run_list.briefly()
    before = run_list.load(listed["chosen"])
    assert run_list.load(listed["chosen"]) is before
    summary = runs["a"].summary()
    runs["a"].write_summary(summary.model_copy(update={"finished": summary.finished + timedelta(hours=1)}))
    run_list.briefly()
    assert run_list.load(listed["chosen"]) is not before


def test_a_damaged_run_leaves_the_others(trained: Path, tmp_path: Path) -> None:
    runs = copies(trained, tmp_path / "runs", {"a": 1, "b": 2})
    for weights in runs["b"].path.glob("*.safetensors"):
        weights.write_bytes(weights.read_bytes()[:-4])
    with serving(tmp_path / "runs") as served:
        gone = served.get("/api/runs")[1]["chosen"]
        status, answer = served.post("/api/logits", {"run": gone, "ids": [1, 2, 3]})
        assert (status, ".safetensors" in answer["error"]) == (500, True)
        (runs["b"].path / "summary.json").unlink()
        listed = served.get("/api/runs")[1]
        assert [run["id"] for run in listed["runs"]] == [listed["chosen"]] != [gone]
        (runs["a"].path / "summary.json").unlink()
        assert served.get("/api/runs")[1].items() >= {"chosen": None, "runs": []}.items()
