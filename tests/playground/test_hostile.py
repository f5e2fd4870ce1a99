"""Hostile readers of a playground that a user has started."""

import contextlib
import json
import random
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gpt
from gpt.playground.requests import LARGEST_BODY
from tests.conftest import Script, refused
from tests.playground.conftest import Served, started

SECRET = b"the content of a file outside the runs folder"
HOST = b"Host: 127.0.0.1\r\nConnection: close\r\n\r\n"
PATHS = ["/../secret.txt", "/..%2f..%2fsecret.txt", "/%252e%252e/secret.txt", "//etc/passwd", "/vendor/..\\app.py", "*"]
HEADERS = [
    "Host: evil.example",
    "Host: 127.0.0.1\r\nHost: 127.0.0.1",
    "Host: [::1",
    "Origin: http://evil.example",
    "X: " + "y" * 100_000,
    "Transfer-Encoding: chunked\r\nContent-Length: 5",
]


def attacks(run: str) -> list[bytes]:
    """Requests that no page would make."""
    asked = {"run": run, "ids": [1]}
    bodies = [
        b"", b"[" * 30_000, b"NaN", b"\xff\xfe", b" " * (LARGEST_BODY + 10),
        *(json.dumps(asked | changes).encode() for changes in (
            {"ids": [2**40] * 100}, {"ids": []}, {"row": -1}, {"prompt": "a" * 5000}, {"run": "../" * 9})),
    ]  # fmt: skip
    return [
        random.Random(0).randbytes(5000),
        *(f"{method} {path} HTTP/1.1\r\n".encode() + HOST for method in ("GET", "TRACE") for path in PATHS),
        *(f"GET /api/runs HTTP/1.1\r\n{header}\r\n".encode() + HOST for header in HEADERS),
        *(post(path, body) for path in ("logits", "inside", "text", "cross_attention") for body in bodies),
        post("logits", b"{}", length=10**30),
    ]


def post(path: str, content: bytes, length: int | None = None) -> bytes:
    length = len(content) if length is None else length
    head = f"POST /api/{path} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
    return head.encode() + HOST + content


def answered(served: Served, attack: bytes) -> bytes:
    answer = b""
    with contextlib.suppress(OSError), socket.create_connection((served.host, served.port), timeout=15) as connection:
        connection.sendall(attack)
        connection.shutdown(socket.SHUT_WR)
        while part := connection.recv(65536):
            answer += part
    return answer


def test_hostile_requests_are_refused_and_change_nothing(trained: Path) -> None:
    (trained / "secret.txt").write_bytes(SECRET)
    run = gpt.load(runs=trained / "runs", device="cpu")
    with started(trained) as (served, process):
        run_id = served.ids()["v7"]
        with ThreadPoolExecutor(8) as attackers:
            answers = list(attackers.map(lambda attack: answered(served, attack), attacks(run_id)))
        asked = {"run": run_id, "prompt": "Abc", "tokens": 100, "seed": 3}
        assert served.post("/api/text", asked) == (200, run.generate("Abc", tokens=100, seed=3).encode())
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    assert (trained / "errors.txt").read_text() == ""
    assert any(answers)
    for answer in answers:
        assert not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 500")), answer[:300]
        assert SECRET not in answer


def test_a_port_that_is_taken_is_told_in_a_line(trained: Path, script: Script) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = script("play.py", f"port={port}", "open=false", cwd=trained)
    refused(done, str(port))
