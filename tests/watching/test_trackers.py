"""Trackers record what a run records, each value once, and cost the run nothing when they fail."""

import json
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gpt.base.errors import RequestError
from gpt.base.stopping import Stop, Stopped
from gpt.data.text import TextData
from gpt.runs.folder import RunFolder
from gpt.training.watchers import Watcher
from gpt.watching import trackers
from gpt.watching.loggers import chosen_loggers, rows
from gpt.watching.recorders import StepLog
from gpt.watching.tensorboard import TensorBoard
from gpt.watching.trackers import Tracker
from gpt.watching.trackio import Trackio
from gpt.watching.wandb import Wandb
from tests.conftest import REPOSITORY
from tests.training.helpers import choice, small_state, train_state
from tests.watching import records


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A finished run of v5."""
    return RunFolder(Path(shutil.copytree(REPOSITORY / "tests" / "runs" / "formats" / "1.0.0", tmp_path / "run")))


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "_PATIENCE", 60.0)  # the machine may be busy
    for name, value in records.environment(tmp_path / "trackers").items():
        monkeypatch.setenv(name, value)
    (tmp_path / "trackers").mkdir()


REPORT = ["documented  2.0808", "measured  2.07"]


def tracker(name: str, run: RunFolder, mode: str = "offline") -> Tracker:
    changes = {"mode": mode} if name == "wandb" else {}
    (make,) = chosen_loggers({name: choice("logger", name, **changes)})
    made = make(run=run)
    assert isinstance(made, Tracker)
    return made


def end(watcher: Tracker, run: RunFolder) -> None:
    watcher.reported(run.summary(), REPORT)
    watcher.close()


def train(data: TextData, watcher: Watcher, max_iters: int = 20) -> None:
    state = small_state("v1")
    train_state(state, data, watchers=[StepLog(5), watcher], log_interval=5, max_iters=max_iters)


@pytest.mark.parametrize("name", records.NAMES)
def test_a_tracker_has_every_point_once_also_after_a_resume_from_before_its_last_point(
    name: str, data: TextData, run: RunFolder, tmp_path: Path
) -> None:
    state, first = small_state("v1"), tracker(name, run)
    train_state(state, data, watchers=[StepLog(5), first], log_interval=5, max_iters=10)
    progress, tensors = state.progress.model_copy(deep=True), {k: t.clone() for k, t in state.tensors().items()}
    train_state(state, data, watchers=[StepLog(5), first], log_interval=5, max_iters=20)
    first.close()  # as its process does when that of the training was killed

    resumed, second = small_state("v1", learning_rate=1e-2), tracker(name, run)
    resumed.restore(progress, tensors)
    train_state(resumed, data, watchers=[StepLog(5), second], log_interval=5, max_iters=15)
    end(second, run)

    points, texts = records.recorded(name, run.path, tmp_path / "trackers")
    assert [i for i, _ in points["loss/val"]] == [0, 10, 15]
    assert [i for i, _ in points["gradient_norm"]] == [5, 10, 15]
    assert [i for i, _ in points["learning_rate/all"]] == [0, 5, 10, 15]
    assert [value for _, value in points["learning_rate/all"]] == pytest.approx([1e-3, 1e-3, 1e-3, 1e-2])
    assert points["loss/documented_val"] == [(i, pytest.approx(2.0808)) for i in (0, 10, 15)]
    assert points["loss/exact_val"][0][1] == pytest.approx(run.summary().exact.nats)
    found = rows(resumed.progress)
    for column in ("loss/train", "loss/val", "loss/batch", "gradient_norm", "tokens_per_second", "tokens"):
        expected = [(i, pytest.approx(row[column])) for i, row in found.items() if column in row]
        assert points[column] == expected
    sample = (run.path / "sample.txt").read_text().splitlines()[0]
    assert sample in texts["sample"]
    assert all(line in texts["report"] for line in REPORT)


def test_nothing_is_started_before_a_resumed_run_has_changed(data: TextData, run: RunFolder) -> None:
    state, stop = small_state("v1"), Stop()
    train_state(state, data, max_iters=10)
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    watcher = tracker("tensorboard", run)
    stop.requested = 15
    with pytest.raises(Stopped):
        train_state(state, data, watchers=[watcher], max_iters=20, stop=stop)  # it is evaluated already
    watcher.close()
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_a_resumed_run_with_nothing_left_to_train_is_reported(data: TextData, run: RunFolder, tmp_path: Path) -> None:
    """As after a Ctrl-C during the exact loss."""
    state = small_state("v1")
    train_state(state, data, max_iters=10)
    watcher = tracker("tensorboard", run)
    train_state(state, data, watchers=[watcher], max_iters=10)
    end(watcher, run)
    points, texts = records.recorded("tensorboard", run.path, tmp_path / "trackers")
    assert [i for i, _ in points["loss/val"]] == [0, 10]
    assert "loss/exact_val" in points
    assert "report" in texts


def process_of(watcher: Tracker) -> subprocess.Popen:
    assert watcher._process is not None
    return watcher._process


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_a_tracker_that_cannot_write_or_finds_a_link_is_one_warning(
    data: TextData, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "file" / "folder"))
    (tmp_path / "elsewhere").mkdir()
    (run.path / "tensorboard").symlink_to(tmp_path / "elsewhere")
    for name, reason in (("trackio", ""), ("tensorboard", "is a link")):
        caplog.clear()
        watcher = tracker(name, run)
        train(data, watcher)
        end(watcher, run)
        (warning,) = warnings_of(caplog)
        assert warning.startswith(f"{name} failed, and the run continues without it: ")
        assert reason in warning
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_tracker_that_dies_or_takes_nothing_is_one_warning_and_leaves_no_process(
    number: int, data: TextData, run: RunFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trackers, "_PATIENCE", 1.0)

    class Fault(Watcher):
        is_started = False

        def evaluated(self, state: object) -> None:
            if self.is_started:
                process_of(watcher).send_signal(number)
            self.is_started = True

    watcher = tracker("tensorboard", run)
    state = small_state("v1")
    train_state(state, data, watchers=[StepLog(1), Fault(), watcher], log_interval=1, max_iters=2000)
    end(watcher, run)
    assert state.progress.iteration == 2000
    assert len(warnings_of(caplog)) == 1
    assert process_of(watcher).wait(10) == -signal.SIGKILL


def test_a_server_that_does_not_answer_holds_nothing_up(
    data: TextData, run: RunFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trackers, "_PATIENCE", 0.1)
    caplog.set_level("INFO")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        watcher = tracker("wandb", run, mode="online")
        train(data, watcher)
        with server.accept()[0]:
            watcher.close()
            assert "wandb is still delivering" in caplog.messages[-1]
            process_of(watcher).send_signal(signal.SIGKILL)


def test_a_slow_tracker_delivers_everything_after_the_end_of_the_run(
    data: TextData, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trackers, "_PATIENCE", 0.1)
    caplog.set_level("INFO")
    watcher = tracker("tensorboard", run)
    train(data, watcher, max_iters=10)
    process_of(watcher).send_signal(signal.SIGSTOP)
    train(data, watcher, max_iters=20)
    end(watcher, run)
    assert "tensorboard is still delivering" in caplog.messages[-1]
    process_of(watcher).send_signal(signal.SIGCONT)
    assert process_of(watcher).wait(60) == 0
    points, texts = records.recorded("tensorboard", run.path, tmp_path)
    assert len(points["loss/exact_val"]) == 1
    assert "sample" in texts


HANGING = """
import sys, time
from gpt.watching import tracker_process as process
from gpt.watching import tensorboard
tensorboard.TensorBoard.sink = lambda run: time.sleep(600)  # as a library that waits for its server
process._TO_READ = 0.5
process.main("gpt.watching.tensorboard", "TensorBoard")
"""


def test_the_process_of_a_run_that_is_killed_ends_whatever_its_library_waits_for(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HANGING], cwd=REPOSITORY, stdin=subprocess.PIPE, text=True)
    assert process.stdin is not None
    run = {"id": "a", "name": "a", "folder": str(tmp_path), "config": {}, "options": {}}
    process.stdin.write(json.dumps(run) + "\n" + json.dumps({"step": 0, "values": {}}) + "\n")
    process.stdin.close()  # as the system does when the training is killed
    try:
        assert process.wait(60) == 1
    finally:
        process.kill()


def test_a_missing_library_is_a_line_that_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    extras = (REPOSITORY / "pyproject.toml").read_text()
    for kind in (TensorBoard, Trackio, Wandb):
        assert f'\n{kind.package} = ["{kind.package}>=' in extras
    monkeypatch.setattr(Trackio, "package", "not-installed")
    with pytest.raises(RequestError, match=r"^not-installed is not installed: pip install -e '\.\[not-installed\]'$"):
        chosen_loggers({"trackio": choice("logger", "trackio")})
