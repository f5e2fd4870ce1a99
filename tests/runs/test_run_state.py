"""What a run folder says of its run: that it trains, has finished, or why it ended."""

import shutil
import signal
from pathlib import Path

import pytest

from gpt.base.errors import DivergedError, UserError
from gpt.base.stopping import Stopped
from gpt.runs.folder import RunFolder, RunState
from tests.conftest import TrainedOnce


@pytest.fixture
def run(trained_run: TrainedOnce, tmp_path: Path) -> RunFolder:
    """A run that was killed after its last iteration."""
    run = RunFolder(shutil.copytree(trained_run("v1"), tmp_path / "run"))
    (run.path / "summary.json").unlink()
    return run


def end_by(error: BaseException, run: RunFolder) -> None:
    with pytest.raises(type(error)), run.logging():
        raise error


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (Stopped(signal.SIGTERM), "paused"),
        (DivergedError("the loss is nan"), "diverged"),
        (ZeroDivisionError(), "failed"),
    ],
)
def test_an_error_is_recorded_until_the_run_trains_again(error: BaseException, name: str, run: RunFolder) -> None:
    assert str(RunState.of(run)) == "killed at iteration 20 of 20"
    with run.locked():
        end_by(error, run)
        assert (RunState.of(run).name, RunState.of(RunFolder(run.path)).name) == (name, "training")
    assert RunState.of(run).name == name
    with run.locked(), run.logging():
        run.mark_training()
        assert RunState.of(RunFolder(run.path)).name == "training"
    assert RunState.of(run).name == "killed"


def test_an_error_after_a_run_has_finished_changes_nothing(run: RunFolder, trained_run: TrainedOnce) -> None:
    run.mark_training()
    shutil.copy(trained_run("v1") / "summary.json", run.path)
    end_by(UserError(), run)  # as where debug=overfit did not over-fit
    assert RunState.of(run).name == "finished"
    assert run.record().ending is None


def test_a_strangers_record_is_checked(run: RunFolder) -> None:
    (run.path / "run.json").write_text('{"ending": "paused"}')
    with pytest.raises(UserError, match=r"run\.json"):
        RunState.of(run)
