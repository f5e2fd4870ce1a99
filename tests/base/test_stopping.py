"""A signal asks once to stop; a second one has its usual effect."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gpt.base.stopping import Stopped, following, listening
from tests.conftest import REPOSITORY


def test_the_first_signal_is_a_request_and_the_second_an_interrupt() -> None:
    with listening() as stop:
        stop.check()
        signal.raise_signal(signal.SIGINT)
        assert stop.requested == signal.SIGINT
        with pytest.raises(Stopped) as stopped:
            stop.check()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert stopped.value.exit_code == 130


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: None], ids=["nohup", "a cluster"])
def test_a_signal_that_is_handled_elsewhere_is_left_alone(handler: Any) -> None:
    before = signal.signal(signal.SIGHUP, handler)
    try:
        with listening() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert stop.requested is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_process_without_its_parent_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr("gpt.base.stopping._parent", None)
    with following(os.getppid()), listening() as stop:
        assert stop.requested is None
    assert not ended
    with following(os.getppid() + 1), listening() as stop:
        assert stop.requested == signal.SIGTERM
    assert ended == [143]


@pytest.mark.slow
def test_ctrl_c_before_a_training_is_one_line(tmp_path: Path) -> None:
    code = f"""
import importlib.abc, os, runpy, signal, sys
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "pydantic":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
runpy.run_path({str(REPOSITORY / "train.py")!r}, run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
    assert list(tmp_path.iterdir()) == []
