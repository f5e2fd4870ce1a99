"""Trackers record what a run records, each value once, and cost the run nothing when they fail; docs/tracking.md."""

import csv
import importlib.metadata
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from tests.extras import require_extra

require_extra("wandb")
require_extra("trackio")
require_extra("tensorboard")

import wandb

from gpt.base.errors import RequestError
from gpt.base.stopping import Stopped
from gpt.data.text import TextData
from gpt.runs.folder import RunFolder
from gpt.runs.records import Summary, read_record
from gpt.training.trainer import Trainer
from gpt.training.watchers import Watcher
from gpt.watching.loggers import Csv, chosen_loggers, rows
from gpt.watching.trackers import Tracker
from tests.conftest import REPOSITORY, succeeded
from tests.faults.trials import tree
from tests.forked import Forked
from tests.training.helpers import choice, small_trainer, train_recorded, train_up
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
    for name, value in records.environment(tmp_path / "trackers").items():
        monkeypatch.setenv(name, value)
    (tmp_path / "trackers").mkdir()
    wandb.teardown()  # it reads these variables once a process, as trackio does when it is imported
    for module in [name for name in sys.modules if name.partition(".")[0] == "trackio"]:
        monkeypatch.delitem(sys.modules, module)


def chosen(name: str, mode: str = "offline") -> Callable[..., Watcher]:
    (make,) = chosen_loggers({name: choice("logger", name, **({"mode": mode} if name == "wandb" else {}))})
    return make


def tracker(name: str, run: RunFolder, mode: str = "offline") -> Tracker:
    made = chosen(name, mode)(run=run)
    assert isinstance(made, Tracker)
    return made


def summary_of(run: RunFolder) -> Summary:
    """Its results; the metrics may be those of another training."""
    return read_record(run.path / "summary.json", Summary)


def end(watcher: Tracker, run: RunFolder) -> None:
    watcher.reported(summary_of(run), REPORT)
    watcher.close()


def train(data: TextData, run: RunFolder, watcher: Watcher, max_iters: int = 20) -> None:
    train_recorded(small_trainer("v1"), data, run, watchers=[watcher], log_interval=5, max_iters=max_iters)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("name", records.NAMES)
def test_a_tracker_has_every_point_once_after_a_resume(
    name: str, data: TextData, run: RunFolder, tmp_path: Path
) -> None:
    """So has metrics.csv."""
    trainer, first = small_trainer("v1"), tracker(name, run)
    train_recorded(trainer, data, run, watchers=[first], log_interval=5, max_iters=10)
    progress, tensors = trainer.state.model_copy(deep=True), {k: t.clone() for k, t in trainer.tensors().items()}
    train_recorded(trainer, data, run, watchers=[first], log_interval=5, max_iters=20)
    first.close()  # as of a training that was killed after its checkpoint
    time.sleep(1.0)  # wandb names the folder of an offline run by the second

    resumed, second = small_trainer("v1", learning_rate=1e-2), tracker(name, run)
    resumed.restore(progress, tensors)
    train_recorded(resumed, data, run, watchers=[second, Csv(run, steps=True)], log_interval=5, max_iters=15)
    end(second, run)

    points, texts = records.recorded(name, run.path, tmp_path / "trackers")
    assert [i for i, _ in points["val"]] == [0, 10, 15]
    assert [i for i, _ in points["gradient_norm"]] == [5, 10, 15]
    assert [i for i, _ in points["learning_rate"]] == [0, 5, 10, 15]
    assert [value for _, value in points["learning_rate"]] == pytest.approx([1e-3, 1e-3, 1e-3, 1e-2])
    assert points["documented_val"] == [(i, pytest.approx(2.0808)) for i in (0, 10, 15)]
    assert points["exact_val"][0][1] == pytest.approx(summary_of(run).exact.nats)
    found = rows(resumed.state)
    for column in ("train", "val", "batch", "gradient_norm", "tokens_per_second", "tokens"):
        assert points[column] == [(i, pytest.approx(row[column])) for i, row in found.items() if column in row]
    with (run.path / "metrics.csv").open(newline="", encoding="utf-8") as file:
        table = {int(row.pop("iteration")): {k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)}
    assert table == {
        i: {name.removeprefix("").replace("/", "_"): value for name, value in row.items()} for i, row in found.items()
    }
    assert (run.path / "sample.txt").read_text().splitlines()[0] in texts["sample"]
    assert all(line in texts["report"] for line in REPORT)


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_renamed_run_continues_its_curve(name: str, data: TextData, run: RunFolder, tmp_path: Path) -> None:
    for max_iters in (10, 15):
        watcher = tracker(name, run)
        train(data, run, watcher, max_iters)
        end(watcher, run)
        run = RunFolder(Path(shutil.move(run.path, tmp_path / f"renamed_{max_iters}")))
        time.sleep(1.0)  # as above
    ((points, _),) = records.all_recorded(name, tmp_path / "trackers")
    assert points["val"][-1][0] == 15


def test_a_tracker_waits_for_something_to_report(data: TextData, run: RunFolder, tmp_path: Path) -> None:
    trainer = small_trainer("v1")
    train_up(trainer, data, max_iters=10)
    before, watcher = tree(run.path), tracker("tensorboard", run)

    class Signal(Watcher):
        def between_steps(self, trainer: Trainer, is_last: bool) -> None:
            raise Stopped(signal.SIGTERM)

    with pytest.raises(Stopped):
        train_up(trainer, data, watchers=[watcher, Signal()], max_iters=20)  # it is evaluated already
    watcher.close()
    assert tree(run.path) == before
    watcher = tracker("tensorboard", run)
    train_up(trainer, data, watchers=[watcher], max_iters=10)  # as after a Ctrl-C during the exact loss
    end(watcher, run)
    points, texts = records.recorded("tensorboard", run.path, tmp_path / "trackers")
    assert [i for i, _ in points["val"]] == [0, 10]
    assert "exact_val" in points
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
        train(data, run, watcher)
        end(watcher, run)
        (warning,) = warnings_of(caplog)
        assert warning.startswith(f"{name} failed")
        assert word in warning


@pytest.mark.parametrize("name", records.NAMES)
def test_a_tracker_that_fails_in_the_middle_is_one_warning(
    name: str, data: TextData, run: RunFolder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher, calls = tracker(name, run), []

    def fail(step: int, *_: object) -> None:
        calls.append(step)
        raise OSError("the library's\nown words")

    class Fault(Watcher):
        def evaluated(self, trainer: Trainer) -> None:
            if trainer.state.iteration:
                monkeypatch.setattr(watcher, "log", fail)

    trainer = small_trainer("v1")
    train_recorded(trainer, data, run, watchers=[Fault(), watcher], log_interval=5, max_iters=20)
    end(watcher, run)
    assert (trainer.state.iteration, calls) == (20, [10])
    assert warnings_of(caplog) == [f"{name} failed, and the run continues without it: the library's own words"]


def test_a_missing_library_is_a_line_that_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    extras = (REPOSITORY / "pyproject.toml").read_text()

    def missing(package: str) -> None:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr("importlib.metadata.version", missing)
    for name in records.NAMES:
        assert f'\n{name} = ["{name}>=' in extras
        with pytest.raises(RequestError, match=rf"^.*\[{name}\].*$"):
            chosen(name)


@pytest.mark.parametrize(("category", "failures"), [(FutureWarning, 0), (UserWarning, 1)])
def test_trackio_reports_its_failures_as_warnings(
    category: type[Warning], failures: int, data: TextData, run: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    import trackio

    def log(self: object, *_: object, **__: object) -> None:
        warnings.warn("old", category, stacklevel=1)

    with mock.patch.object(trackio.Run, "log", log):
        watcher = tracker("trackio", run)
        train(data, run, watcher)
        end(watcher, run)
    assert len(warnings_of(caplog)) == failures


@pytest.mark.parametrize("fails", [False, True])
def test_trackers_print_nothing_beside_json(fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if fails:
        (tmp_path / "file").touch()
        monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "file" / "folder"))
    words = [*SHORT.split(), "model=v1", "json=true", "logger=[tensorboard,wandb,trackio]", "logger.wandb.mode=offline"]
    command = [sys.executable, str(REPOSITORY / "train.py"), *words]  # not forked: libraries also print at exit
    done = succeeded(subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False))
    assert json.loads(done.stdout)["stage"] == "v1"
    assert done.stderr.count("trackio failed, and the run continues") == int(fails)


@pytest.mark.slow
def test_every_command_of_the_page_runs(tmp_path: Path) -> None:
    assert len(COMMANDS) >= 4
    for command in COMMANDS:
        script, *given = shlex.split(command)
        own = [word for word in SHORT.split() if word.partition("=")[0] not in command]
        done = succeeded(Forked([str(REPOSITORY / script), *given, *own], tmp_path).finished())
        assert "failed" not in done.stderr
    assert len(list(tmp_path.rglob("events.out.tfevents.*"))) == 1
    assert len(list(tmp_path.rglob("offline-run-*/*.wandb"))) == 1
    assert len(list(tmp_path.rglob("metrics.csv"))) == 2
    assert (tmp_path / "trackers" / "gpt-ladder.db").exists()
