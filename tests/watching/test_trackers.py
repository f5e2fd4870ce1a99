"""Trackers record what a run records, each value once, and cost the run nothing when they fail; docs/tracking.md."""

import csv
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.extras import require_extra

require_extra("wandb")
require_extra("trackio")
require_extra("tensorboard")

from filelock import FileLock

from gpt.base.errors import RequestError
from gpt.base.stopping import Stopped
from gpt.config.schema import Documented
from gpt.data.text import TextData
from gpt.runs.folder import RunFolder
from gpt.training.state import TrainingState
from gpt.training.watchers import Watcher
from gpt.watching import trackers
from gpt.watching.loggers import Csv, chosen_loggers, rows
from gpt.watching.recorders import StepLog
from gpt.watching.trackers import Tracker
from tests.conftest import REPOSITORY, succeeded
from tests.faults.trials import tree
from tests.forked import Forked
from tests.training.helpers import choice, small_state, train_state
from tests.watching import records

pytestmark = pytest.mark.slow

PAGE = (REPOSITORY / "docs" / "tracking.md").read_text()
COMMANDS = re.findall(r"^python (.*?)(?: +#.*)?$", PAGE, re.MULTILINE)
SHORT = "training.max_iters=40 training.eval_interval=20 training.eval_iters=1 device=cpu"
REPORT = ["documented  2.0808", "measured  2.07"]


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


def chosen(name: str, mode: str = "offline") -> Callable[..., Watcher]:
    (make,) = chosen_loggers({name: choice("logger", name, **({"mode": mode} if name == "wandb" else {}))})
    return make


def tracker(name: str, run: RunFolder, mode: str = "offline") -> Tracker:
    made = chosen(name, mode)(run=run)
    assert isinstance(made, Tracker)
    return made


def end(watcher: Tracker, run: RunFolder) -> None:
    watcher.reported(run.summary(), REPORT)
    watcher.close()


def train(data: TextData, watcher: Watcher, max_iters: int = 20) -> None:
    train_state(small_state("v1"), data, watchers=[StepLog(5), watcher], log_interval=5, max_iters=max_iters)


def process_of(watcher: Tracker) -> subprocess.Popen:
    assert watcher._process is not None
    return watcher._process


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("name", records.NAMES)
def test_a_tracker_has_every_point_once_after_a_resume(
    name: str, data: TextData, run: RunFolder, tmp_path: Path
) -> None:
    """So has metrics.csv."""
    state, first = small_state("v1"), tracker(name, run)
    train_state(state, data, watchers=[StepLog(5), first], log_interval=5, max_iters=10)
    progress, tensors = state.progress.model_copy(deep=True), {k: t.clone() for k, t in state.tensors().items()}
    train_state(state, data, watchers=[StepLog(5), first], log_interval=5, max_iters=20)
    first._messages.put(None)  # as of a training that was killed: its process may not be done yet

    resumed, second = small_state("v1", learning_rate=1e-2), tracker(name, run)
    resumed.restore(progress, tensors)
    train_state(resumed, data, watchers=[StepLog(5), second, Csv(run, steps=True)], log_interval=5, max_iters=15)
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
        assert points[column] == [(i, pytest.approx(row[column])) for i, row in found.items() if column in row]
    with (run.path / "metrics.csv").open(newline="", encoding="utf-8") as file:
        table = {int(row.pop("iteration")): {k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)}
    assert table == {
        i: {name.removeprefix("loss/").replace("/", "_"): value for name, value in row.items()}
        for i, row in found.items()
    }
    assert (run.path / "sample.txt").read_text().splitlines()[0] in texts["sample"]
    assert all(line in texts["report"] for line in REPORT)


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_renamed_run_continues_its_curve(name: str, data: TextData, run: RunFolder, tmp_path: Path) -> None:
    for max_iters in (10, 15):
        watcher = tracker(name, run)
        train(data, watcher, max_iters)
        end(watcher, run)
        run = RunFolder(Path(shutil.move(run.path, tmp_path / f"renamed_{max_iters}")))
    ((points, _),) = records.all_recorded(name, tmp_path / "trackers")
    assert points["loss/val"][-1][0] == 15


def test_a_tracker_waits_for_something_to_report(data: TextData, run: RunFolder, tmp_path: Path) -> None:
    state = small_state("v1")
    train_state(state, data, max_iters=10)
    before, watcher = tree(run.path), tracker("tensorboard", run)

    class Signal(Watcher):
        def between_steps(self, state: TrainingState, is_last: bool) -> None:
            raise Stopped(signal.SIGTERM)

    with pytest.raises(Stopped):
        train_state(state, data, watchers=[watcher, Signal()], max_iters=20)  # it is evaluated already
    watcher.close()
    assert tree(run.path) == before
    watcher = tracker("tensorboard", run)
    train_state(state, data, watchers=[watcher], max_iters=10)  # as after a Ctrl-C during the exact loss
    end(watcher, run)
    points, texts = records.recorded("tensorboard", run.path, tmp_path / "trackers")
    assert [i for i, _ in points["loss/val"]] == [0, 10]
    assert "loss/exact_val" in points
    assert "report" in texts


def test_a_tracker_that_cannot_start_is_one_warning(
    data: TextData, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "file" / "folder"))
    (run.path / "tensorboard").touch()
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # without a .netrc
    for name, word, options in (
        ("trackio", "", {}),
        ("tensorboard", "File exists", {}),
        ("wandb", "logger.wandb.mode=offline", {"mode": "online"}),
    ):
        caplog.clear()
        watcher = tracker(name, run, **options)
        train(data, watcher)
        end(watcher, run)
        (warning,) = warnings_of(caplog)
        assert warning.startswith(f"{name} failed")
        assert word in warning


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_dead_or_stuck_tracker_is_one_warning(
    number: int, data: TextData, run: RunFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trackers, "_PATIENCE", 1.0)

    class Fault(Watcher):
        def evaluated(self, state: object) -> None:
            if watcher._process is not None:
                watcher._process.send_signal(number)

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


def test_a_slow_tracker_delivers_after_the_run_ends(
    data: TextData, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trackers, "_PATIENCE", 0.1)
    documented = Documented(train=2.5, val=None, kind="mini-batch")
    monkeypatch.setattr(RunFolder, "documented", lambda run: documented)
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
    assert {value for _, value in points["loss/documented_batch"]} == {2.5}
    assert "sample" in texts


HANGING = """
tensorboard.EventFiles.close = lambda *_: time.sleep(600)  # as a library that waits for its server
process._TO_DELIVER = 0.5
"""


@pytest.mark.parametrize(("before", "code"), [("", 0), pytest.param(HANGING, 1, id="hanging")])
def test_the_tracker_of_a_killed_run_delivers_or_ends(before: str, code: int, tmp_path: Path) -> None:
    """Nobody listens any more, and the last line was cut off in the middle."""
    main = 'process.main("gpt.watching.tensorboard", "TensorBoard")'
    script = f"import time\nfrom gpt.watching import tensorboard, tracker_process as process\n{before}\n{main}"
    run = {"id": "1", "name": "run", "folder": str(tmp_path), "tracker": "t", "config": {}, "options": {}}
    values = [{"step": i, "values": {"loss/val": float(i)}, "texts": {}, "is_finished": False} for i in range(3)]
    lines = "".join(json.dumps(message) + "\n" for message in [run, *values]) + '{"step": 3, "val'
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    try:
        _, errors = process.communicate(lines.encode(), timeout=120)
    finally:
        process.kill()
    assert process.returncode == code, errors
    if code == 0:
        points, _ = records.recorded("tensorboard", tmp_path, tmp_path)
        assert points["loss/val"] == [(0, 0.0), (1, 1.0), (2, 2.0)]


def test_a_missing_library_is_a_line_that_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    extras = (REPOSITORY / "pyproject.toml").read_text()

    def missing(package: str) -> None:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr("importlib.metadata.version", missing)
    for name in records.NAMES:
        assert f'\n{name} = ["{name}>=' in extras
        with pytest.raises(RequestError, match=rf"^.*\[{name}\].*$"):
            chosen(name)


@pytest.mark.slow
@pytest.mark.parametrize(("category", "code"), [("FutureWarning", 0), ("UserWarning", 1)])
def test_a_deprecation_in_a_library_is_no_failure_of_trackio(category: str, code: int, tmp_path: Path) -> None:
    """trackio reports its failures as warnings of the category UserWarning."""
    lines = (
        "import warnings",
        "from pathlib import Path",
        "from gpt.watching.tracker_process import Run",
        "from gpt.watching.wandb import Wandb",
        "tracker = Wandb.sink(Run('1', 'run', Path(), {}, {'library': 'trackio', 'project': 'test'}))",
        f"warnings.warn('old', {category})",
        "tracker.log(0, {'loss': 1.0}, {})",
        "tracker.close(True)",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == code, done.stderr


def wait_for_trackers(folder: Path) -> None:
    """Until the trackers of every run below `folder` have released their locks."""
    for lock in folder.rglob(".*.lock"):
        if lock.name != ".lock":
            with FileLock(lock, timeout=60):
                pass


@pytest.mark.slow
def test_every_command_of_the_page_runs(tmp_path: Path) -> None:
    assert len(COMMANDS) >= 4
    for command in COMMANDS:
        script, *given = shlex.split(command)
        own = [word for word in SHORT.split() if word.partition("=")[0] not in command]
        done = succeeded(Forked([str(REPOSITORY / script), *given, *own], tmp_path).finished())
        assert "failed" not in done.stderr
    wait_for_trackers(tmp_path)
    assert len(list(tmp_path.rglob("events.out.tfevents.*"))) == 1
    assert len(list(tmp_path.rglob("offline-run-*/*.wandb"))) == 1
    assert len(list(tmp_path.rglob("metrics.csv"))) == 2
    assert (tmp_path / "trackers" / "gpt-ladder.db").exists()
