"""Hostile readers of a playground that a user has started."""

import contextlib
import json
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import gpt
from gpt.playground import server
from gpt.playground.requests import LARGEST_BODY
from tests.conftest import REPOSITORY, refused
from tests.playground.conftest import Served, started

pytestmark = pytest.mark.slow

SECRET = "the content of a file outside the runs folder"
TEXT = {"prompt": "Abc", "tokens": 1000, "temperature": 1.0, "top_k": None, "top_p": None, "seed": 1}
HOST = b"Host: 127.0.0.1\r\n"


def test_a_thousand_hostile_requests_leave_it_as_it_was(trained: Path) -> None:
    (trained / "secret.txt").write_text(SECRET)
    run = gpt.load(runs=trained / "runs", device="cpu")
    draw = random.Random(0)
    with started(trained) as (served, process):
        run_id = served.ids()["v7"]
        attacks = [_attack(draw, run_id) for _ in range(1000)]
        with ThreadPoolExecutor(8) as attackers:
            answers = list(attackers.map(lambda attack: attack(served), attacks))
        assert process.poll() is None
        asked = {**TEXT, "run": run_id, "tokens": 100, "seed": 3}
        assert served.post("/api/text", asked) == (200, run.generate("Abc", tokens=100, seed=3).encode())
        assert (trained / "errors.txt").read_text() == ""
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    assert (trained / "errors.txt").read_text() == ""
    assert sum(1 for answer in answers if answer) > 500  # most are answered, with a refusal
    for answer in answers:
        assert not answer.startswith(b"HTTP/1.1 500"), answer[:300]
        for content in (SECRET.encode(), b"root:", b"Traceback", b"LADDER"):
            assert content not in answer, answer[:300]


def _attack(draw: random.Random, run_id: str) -> Callable[[Served], bytes]:
    """A request that no page would make, drawn at random, as a function of the server that returns the answer."""
    kind = draw.choice([_path, _garbage, _header, _body, _leaving])
    sent, leaves = kind(draw, run_id), draw.choice(["half", "half", "at once", "soon" if kind is _leaving else "half"])

    def attack(served: Served) -> bytes:
        answer = b""
        with (
            contextlib.suppress(OSError),
            socket.create_connection((served.host, served.port), timeout=15) as connection,
        ):
            connection.sendall(sent)
            if leaves == "at once":
                return b""
            if leaves == "half":
                connection.shutdown(socket.SHUT_WR)
            while len(answer) < 2**20 and (part := connection.recv(65536)):
                answer += part
                if leaves == "soon":
                    break
        return answer

    return attack


def _path(draw: random.Random, run_id: str) -> bytes:
    ups = ["../", "..%2f", "%2e%2e/", "..%252f", "..\\", "%c0%ae%c0%ae/", "....//", "./", "//", "%00", "\ufffd"]
    starts = ["/", "/vendor/", "/engines/", f"/api/runs/{run_id}/", "//127.0.0.1/", "http://evil/", "*"]
    ends = ["secret.txt", "etc/passwd", "app.py", "README.md", "summary.json", "a" * draw.randint(1, 70_000), ""]
    method = draw.choice(["GET", "HEAD", "POST", "PUT", "OPTIONS", "TRACE", "CONNECT", "G\0T"])
    path = draw.choice(starts) + draw.choice(ups) * draw.randint(0, 8) + draw.choice(ends)
    version = draw.choice(["1.1", "1.0", "2.0", "9", ""])
    return f"{method} {path} HTTP/{version}\r\n".encode() + HOST + b"Connection: close\r\n\r\n"


def _garbage(draw: random.Random, run_id: str) -> bytes:
    return draw.randbytes(draw.randint(0, 5000)) + draw.choice([b"", b"\r\n\r\n"])


def _header(draw: random.Random, run_id: str) -> bytes:
    names = ["evil.example", "127.0.0.1.evil.example", "", "127.0.0.1:99999999", "[::1", "localhost@evil", "\u00e9"]
    headers = [
        f"Host: {draw.choice(names)}", f"Host: {draw.choice(names)}\r\nHost: 127.0.0.1", "X: " + "y" * 100_000,
        "\r\n".join(f"X{i}: y" for i in range(5000)), "Host : 127.0.0.1", "Origin: http://evil.example",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAA\r\nSec-WebSocket-Version: 13",
        "Transfer-Encoding: chunked\r\nContent-Length: 5", "Expect: 100-continue",
    ]  # fmt: skip
    request = f"GET /api/runs HTTP/1.1\r\n{draw.choice(headers)}\r\n".encode()
    return request + draw.choice([b"\r\n", HOST + b"\r\n", HOST + b"Connection: close\r\n\r\n"])


def _body(draw: random.Random, run_id: str) -> bytes:
    texts = ["", "a", "é", "\0", "../" * 9, "a" * 5000, "\ud800", run_id]
    values = [*texts, [1, 2], [-1], [0] * 5000, None, True, -1, 0, 1e308, 2**70, 10**400, [], [[]], {}]
    names = ["run", "ids", "prompt", "tokens", "temperature", "top_k", "seed", "sentence", "target", "__proto__"]
    asked = {name: draw.choice(values) for name in draw.sample(names, draw.randint(0, len(names)))}
    asked |= {"run": run_id} if draw.random() < 0.7 else {}
    content = draw.choice([
        json.dumps(asked).encode(), b"[" * 30_000, b"NaN", b'{"run":', draw.randbytes(500), b"\xff\xfe", b"1" * 30_000,
        json.dumps({"run": run_id, "ids": [2**40] * 100}).encode(), b" " * (LARGEST_BODY + 10), b"",
    ])  # fmt: skip
    path = draw.choice(["logits", "attention", "inside", "text", "translations", "cross_attention", "runs"])
    kind = draw.choice(["application/json", "application/json", "application/json", "text/plain", "application/json\0"])
    return _post(path, content, draw.choice([len(content), len(content), -1, 0, len(content) + 1, 10**30]), kind)


def _leaving(draw: random.Random, run_id: str) -> bytes:
    content = json.dumps({"run": run_id} | TEXT).encode()
    return _post("text", content, len(content))


def _post(path: str, content: bytes, length: int, kind: str = "application/json") -> bytes:
    head = f"POST /api/{path} HTTP/1.1\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n"
    return head.encode() + HOST + b"\r\n" + content


def test_where_a_port_is_taken_the_next_is_used_and_one_that_cannot_be_used_is_told_in_a_line(trained: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with server._bound("127.0.0.1", port) as bound:
            assert port < bound.getsockname()[1] <= port + server._MORE_PORTS
    command = [sys.executable, str(REPOSITORY / "play.py"), "host=192.0.2.1", "open=false"]  # of nobody: RFC 5737
    done = subprocess.run(command, cwd=trained, capture_output=True, text=True)
    refused(done, "cannot use port 8000 of 192.0.2.1")
