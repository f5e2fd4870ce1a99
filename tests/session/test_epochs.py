"""The length of a run and how often it is evaluated, in epochs and in seconds: recorded as asked and in iterations."""

import itertools
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import gpt
from gpt.base.errors import RequestError
from gpt.runs.folder import RunFolder
from gpt.session import length
from gpt.training import state
from tests.conftest import Script, refused, succeeded


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
    monkeypatch.setattr(state, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))


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
    with pytest.raises(RequestError, match=r"a resumed run can only grow, and this one has training.seconds=6"):
        train(resume, "training.seconds=3")
    (tmp_path / "run" / "summary.json").unlink()
    for checkpoint in sorted((tmp_path / "run" / "checkpoints").iterdir())[1:]:
        shutil.rmtree(checkpoint)
    assert train(resume) == pytest.approx(longer, rel=0.1)


def test_epochs_that_cannot_be_trained_are_refused(called: Script, corpus_file: Path, tmp_path: Path) -> None:
    warmup = ["data=text", f"data.path={corpus_file}", "schedule=linear", "schedule.warmup_iters=10000"]
    for typed, said in ((["debug=overfit"], "training.epochs= is for data with"), (warmup, "is longer than the run")):
        refused(called("train.py", "v1", *typed, "training.epochs=1", cwd=tmp_path), said)


@pytest.mark.parametrize(("wanted", "interval"), [("0.3s", 2), ("10 s", 100), ("5min", 200)])
def test_seconds_between_evaluations_become_iterations_that_the_run_keeps(
    wanted: str, interval: int, corpus_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(length, "_seconds_of_step", lambda model, recipe: 0.12)
    short = ["model=v1", "data=text", f"data.path={corpus_file}", "training.max_iters=200", "training.eval_iters=1"]
    run = gpt.train(*short, f"training.eval_interval={wanted}", folder=tmp_path / "run")
    assert [row.iteration for row in run.evaluations] == list(range(0, 201, interval))
    assert RunFolder(tmp_path / "run").config().training.eval_interval == interval


def test_measuring_the_speed_of_a_step_changes_no_weight(called: Script, corpus_file: Path, tmp_path: Path) -> None:
    """Not with dropout's masks, in parts, or when resume=auto finds the run."""
    small = ["model=v7", "model.block_size=16", "model.n_embd=24", "model.n_layer=1", "training.grad_accumulation=2"]
    small += ["data=text", f"data.path={corpus_file}", "training.batch_size=4", "training.max_iters=6"]
    for folder, interval in (("timed", "1h"), ("plain", "6")):
        for more in ([], ["resume=auto"]):
            typed = [*small, f"training.eval_interval={interval}", f"hydra.run.dir={folder}", *more]
            done = succeeded(called("train.py", *typed, "training.eval_iters=1", cwd=tmp_path))
            assert ("is finished" in done.stdout) == bool(more)
            assert ("every 6 iterations, at the speed" in done.stdout) == (not more and folder == "timed")
    weights = [(tmp_path / folder / "last.safetensors").read_bytes() for folder in ("timed", "plain")]
    assert weights[0] == weights[1]


def test_an_evaluation_interval_of_0_seconds_is_refused(called: Script, corpus_file: Path, tmp_path: Path) -> None:
    typed = ["v1", "data=text", f"data.path={corpus_file}", "training.eval_interval=0s"]
    refused = called("train.py", *typed, cwd=tmp_path)
    assert refused.stderr.endswith("must be a whole number or epoch or a duration, as in 30s or 5min\n")
