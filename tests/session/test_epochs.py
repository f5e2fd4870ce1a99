"""The length of a run and how often it is evaluated, in epochs and in seconds: recorded as asked and in iterations."""

import itertools
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import gpt
from gpt.base.errors import RequestError
from gpt.data.text import TextData
from gpt.training import trainer
from gpt.training.length import decide_length
from gpt.training.state import State
from tests.conftest import Script, refused
from tests.training.helpers import configured, small_trainer, train_up, weights


@pytest.mark.parametrize("windows", ["random", "shuffled"])
def test_a_resumed_run_trains_the_epochs_that_are_left(windows: str, corpus_file: Path, tmp_path: Path) -> None:
    typed = ["v1", "data=text", f"data.path={corpus_file}", f"training.windows={windows}", "training.eval_iters=1"]
    typed += ["training.eval_interval=1000000", "checkpoint.min_seconds=0"]
    epoch = 0.9 * len(corpus_file.read_text()) / 8 / 32  # iterations

    def train(*more: str) -> int:
        """Train in the folder; return the iterations that are recorded, which were done."""
        run = gpt.train(*more, folder=tmp_path / "run")
        assert run.summary.iterations == run.config.training.max_iters
        return run.summary.iterations

    once = train(*typed, "training.epochs=1.0")
    assert epoch - 2 <= once <= epoch + 1
    summary = (tmp_path / "run" / "summary.json").read_bytes()
    assert train(*typed, "training.epochs=1.0", "resume=auto") == once
    resume = f"resume={tmp_path / 'run'}"
    with pytest.raises(RequestError):
        train(resume, "training.epochs=0.5")
    assert (tmp_path / "run" / "summary.json").read_bytes() == summary
    assert 2 * epoch - 2 <= train(resume, "training.epochs=2") <= 2 * epoch + 1
    assert gpt.load(tmp_path / "run").config.training.epochs == 2


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock of the training that goes on by 10 ms each time somebody looks at it, and by 1 s at first."""
    ticks = itertools.chain([0.0], itertools.count(1.0, 0.01))
    monkeypatch.setattr(trainer, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))


@pytest.mark.slow
@pytest.mark.usefixtures("ticking")
def test_the_schedule_and_a_resume_follow_the_budget_of_seconds(corpus_file: Path, tmp_path: Path) -> None:
    typed = ["v2", "data=text", f"data.path={corpus_file}", "training.eval_iters=1", "eval_interval=10"]
    typed += ["checkpoint.min_seconds=0"]

    def train(*more: str) -> int:
        run = gpt.train(*more, folder=tmp_path / "run")
        assert run.run.clock()[run.summary.iterations] == pytest.approx(run.config.training.budget, abs=0.1)
        assert run.summary.iterations == run.config.training.max_iters
        assert f"training.max_iters={run.summary.iterations}" in run.summary.changed
        return run.summary.iterations

    train(*typed, "seconds=4", "schedule=linear")
    run = gpt.load(tmp_path / "run")
    clock = run.run.clock()
    for row in run.evaluations[2:]:  # after the first, the clock is steady
        assert max(row.learning_rates.values()) == pytest.approx(1e-3 * (1 - clock[row.iteration] / 4), abs=5e-5)
    shutil.rmtree(tmp_path / "run")
    first, resume = train(*typed, "seconds=4"), f"resume={run.folder}"
    longer = train(resume, "training.seconds=0.1min")
    assert longer == pytest.approx(first * 6 / 4, rel=0.2)
    with pytest.raises(RequestError, match=r"training\.seconds=6"):
        train(resume, "training.seconds=3")
    (tmp_path / "run" / "summary.json").unlink()
    for checkpoint in sorted((tmp_path / "run" / "checkpoints").iterdir())[1:]:
        shutil.rmtree(checkpoint)
    assert train(resume) == pytest.approx(longer, rel=0.1)


def test_epochs_that_cannot_be_trained_are_refused(called: Script, corpus_file: Path, tmp_path: Path) -> None:
    warmup = ["data=text", f"data.path={corpus_file}", "schedule=linear", "schedule.warmup_iters=10000"]
    for typed, word in ((["debug=overfit"], "training.epochs"), (warmup, "schedule.warmup_iters=10000")):
        refused(called("train.py", "v1", *typed, "training.epochs=1", cwd=tmp_path), word)


def test_measuring_the_speed_of_a_step_changes_nothing(data: TextData) -> None:
    """Not with dropout's masks, in parts."""
    timed, plain = small_trainer("v7"), small_trainer("v7")
    budget = {"grad_accumulation": 2, "batch_size": 4}
    torch.manual_seed(3)
    decide_length(configured(timed, data, seconds=0.5, **budget), State())
    assert timed.settings.max_iters > 1
    train_up(timed, data, **budget)
    torch.manual_seed(3)
    train_up(plain, data, **budget)
    assert weights(timed) == weights(plain)
