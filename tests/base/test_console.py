"""A terminal shows colours. Streams that are closed or full are among the faults: tests/faults/test_starts.py."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

RUN = (
    "model=v1 training.max_iters=4 training.eval_interval=2 training.eval_iters=1 training.batch_size=2 device=cpu "
    "data=text data.path=corpus.txt"
)


def on_a_terminal(arguments: str, folder: Path, **environment: str) -> str:
    """What `python train.py ARGUMENTS` writes to a terminal."""
    if not hasattr(os, "openpty"):
        pytest.skip("needs pseudo-terminals")
    leader, follower = os.openpty()
    variables = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    process = subprocess.Popen(
        [sys.executable, REPOSITORY / "train.py", *arguments.split()],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
        env=variables | {"TERM": "xterm"} | environment,
    )
    os.close(follower)
    written = b""
    with contextlib.suppress(OSError):  # Linux's way to say that the other side is closed
        while new := os.read(leader, 2**16):
            written += new
    os.close(leader)
    process.wait()
    return written.decode()


@pytest.mark.slow
def test_a_terminal_has_colours_and_the_log_has_none(folder: Path) -> None:
    shown = on_a_terminal(f"{RUN} training.learning_rate=10", folder)
    assert re.search(r"\x1b\[33mwarning: .*loss.*\x1b\[0m", shown)
    (log,) = folder.rglob("train.log")
    assert "\x1b" not in log.read_text()


@pytest.mark.slow
def test_an_error_is_red_unless_colours_are_off(folder: Path) -> None:
    assert re.fullmatch(r"\x1b\[31merror: model=v0 .*\x1b\[0m\r\n", on_a_terminal("model=v0", folder))
    plain = on_a_terminal("model=v0", folder, NO_COLOR="1")
    assert plain.startswith("error: model=v0 ")
