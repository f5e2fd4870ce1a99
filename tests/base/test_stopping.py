"""A signal asks once to stop; a second one insists."""

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpt.base.stopping import Stop, Stopped, requeued
from tests.conftest import REPOSITORY


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # the handler runs between two bytecodes


def test_a_repeated_signal_counts_once_and_a_later_one_insists(monkeypatch: pytest.MonkeyPatch) -> None:
    with Stop().listening() as stop, stop.deferred():
        stop.check()
        send(signal.SIGINT)
        send(signal.SIGINT)
        assert stop.requested == signal.SIGINT
        with pytest.raises(Stopped) as stopped:  # long work checks
            stop.check()
        monkeypatch.setattr("gpt.base.stopping._REPEATS", 0.0)
        with pytest.raises(Stopped):
            send(signal.SIGINT)
    assert stopped.value.exit_code == 130


@pytest.fixture
def heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module during whose import a signal arrives, and that does not survive an exception then."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "heavy_library.py").write_text(
        "import os, signal, time\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(0.05)\n"
        "except BaseException:\n"
        "    raise ImportError('cannot load module more than once per process') from None\n"
    )
    yield "heavy_library"
    sys.modules.pop("heavy_library", None)


def test_a_signal_waits_for_an_import_unless_another_insists(heavy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> None:
        importlib.import_module(heavy)
        time.sleep(10)

    with Stop().listening(), pytest.raises(Stopped) as stopped:
        work()
    assert heavy in sys.modules
    assert stopped.value.exit_code == 130
    monkeypatch.setattr("gpt.base.stopping._REPEATS", 0.0)
    path = Path(sys.modules.pop(heavy).__file__ or "")
    path.write_text(path.read_text().replace("    time.sleep(0.05)\n", "    os.kill(os.getpid(), signal.SIGINT)\n"))
    with Stop().listening(), pytest.raises(ImportError):
        importlib.import_module(heavy)


def test_a_program_that_is_itself_being_imported_stops_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "training_on_import.py").write_text(
        "import os, signal, time\nfrom gpt.base.stopping import Stop\n"
        "with Stop().listening():\n    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(10)\n"
    )
    with pytest.raises(Stopped):  # and not after the ten seconds
        importlib.import_module("training_on_import")


@pytest.mark.slow
def test_ctrl_c_while_a_command_imports_is_one_line(heavy: str) -> None:
    lines = f"""if True:
        import signal, sys
        sys.path.insert(0, {sys.path[0]!r})
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background ignores it
        from gpt.base import stopping
        stopping.start()
        stopping.begin_job()
        import {heavy}
    """
    done = subprocess.run([sys.executable, "-c", lines], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


INTERRUPTED = """
import runpy, signal, sys
import hydra
from omegaconf import ListConfig

compose, set_item = hydra.compose, ListConfig._set_item_impl

def composing(*arguments, **options):
    ListConfig._set_item_impl = interrupted
    return compose(*arguments, **options)

def interrupted(self, key, value):
    if key == 1:  # of a list that is half built
        ListConfig._set_item_impl = set_item
        signal.raise_signal(signal.SIGTERM)
    set_item(self, key, value)

hydra.compose = composing
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_a_signal_while_hydra_composes_is_no_error_of_hydras(corpus_file: Path, tmp_path: Path) -> None:
    command = [str(REPOSITORY / "train.py"), "model=v1", "data=text", f"data.path={corpus_file}"]
    command.append("training.max_iters=5")  # what differs from the documented run is found by composing that
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, *command], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 143, done.stderr
    assert done.stderr == "stopped\n"


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [("SIGINT", 130), ("SIGUSR1", 143)])
def test_a_stopped_parallel_sweep_says_how_to_resume(sent: str, code: int) -> None:
    heard = f"import signal; signal.signal(signal.{sent}, signal.SIG_DFL)"  # a suite in the background ignores SIGINT
    starts = "from gpt.base import stopping; stopping.start_sweep(stopping.REPEAT)"
    lines = f"{heard}; {starts}; signal.raise_signal(signal.{sent})"
    done = subprocess.run([sys.executable, "-c", lines], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == code
    assert "resume=auto" in done.stderr


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A job of submitit: what arrives at its handler, which requeues the job."""
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setattr("gpt.base.stopping._REPEATS", 0.0)
    received: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, _: received.append(number))
    yield received
    signal.signal(signal.SIGUSR2, before)


def test_a_cluster_that_repeats_its_signals_does_not_insist(cluster: list[int]) -> None:
    with Stop().listening() as stop, stop.deferred():
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGUSR2, signal.SIGTERM):
            send(number)
        assert stop.requested == signal.SIGUSR2
    assert cluster == []


def test_ctrl_c_ends_the_job_of_a_cluster(cluster: list[int]) -> None:
    with pytest.raises(Stopped), requeued(), Stop().listening():
        send(signal.SIGINT)
    assert cluster == []


def test_a_job_asks_to_be_requeued_once_it_has_saved(cluster: list[int]) -> None:
    saved = []

    def job() -> None:
        with requeued(), Stop().listening() as stop:
            with stop.deferred():
                send(signal.SIGUSR2)
                saved.append(cluster.copy())
            raise Stopped(signal.SIGUSR2)

    with pytest.raises(SystemExit) as ended:
        job()
    assert saved == [[]]
    assert cluster == [signal.SIGUSR2]
    assert ended.value.code is None  # a failure could end the task that requeues them all
