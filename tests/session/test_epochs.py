"""The length of a run in epochs: it is stored in iterations, so that all else is as ever."""

from pathlib import Path

import pytest

import gpt
from gpt.data.batch import tokens_in_epoch
from gpt.runs.folder import RunFolder
from gpt.session import pacing
from tests.conftest import Script, text_data


@pytest.mark.parametrize("length", [40, 41, 200, 1003])
def test_an_epoch_is_the_fewest_targets_for_a_complete_pass(length: int) -> None:
    data = text_data("ab" * length, block_size=4)
    tokens = tokens_in_epoch(data)
    assert (data.epoch(tokens - 1), data.epoch(tokens)) == (0, 1)


@pytest.mark.parametrize("windows", ["random", "shuffled"])
def test_a_run_ends_with_the_epoch(windows: str, corpus_file: Path) -> None:
    typed = ["v1", "data=text", f"data.path={corpus_file}", f"training.windows={windows}", "training.eval_iters=1"]
    run = gpt.train(*typed, epochs=2, eval_interval=10**6)
    assert run.config.training.epochs is None
    iterations = run.config.training.max_iters
    assert run.summary.iterations == iterations
    corpus = corpus_file.read_text()
    per_update = 32 * 8
    assert 2 * 0.9 * len(corpus) / per_update - 2 <= iterations <= 2 * 0.9 * len(corpus) / per_update + 1
    assert "training.epochs=2.0" in run.summary.changed  # no documented run


def test_it_is_resumed_and_extended_by_epochs_or_iterations(called: Script, corpus_file: Path, tmp_path: Path) -> None:
    typed = ["v1", "data=text", f"data.path={corpus_file}", "training.eval_iters=1", "hydra.run.dir=run"]
    for more in (["training.epochs=1"], ["training.epochs=1", "resume=auto"]):
        done = called("train.py", *typed, *more, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    run = RunFolder(tmp_path / "run")
    once = run.summary().iterations
    done = called("train.py", "resume=run", "training.epochs=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 2 * once - 1 <= run.summary().iterations <= 2 * once
    longer = run.summary().iterations + 3
    done = called("train.py", "resume=run", f"training.max_iters={longer}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert run.summary().iterations == longer


def test_data_without_epochs_is_refused(called: Script, corpus_file: Path, tmp_path: Path) -> None:
    done = called("train.py", "v1", "debug=overfit", "training.epochs=1", cwd=tmp_path)
    assert done.returncode == 2
    assert "training.epochs= is for data with epochs" in done.stderr
    typed = ["v1", "data=text", f"data.path={corpus_file}", "schedule=linear", "schedule.warmup_iters=10000"]
    done = called("train.py", *typed, "training.epochs=1", cwd=tmp_path)
    assert done.returncode == 2
    assert "is longer than the run" in done.stderr


@pytest.mark.parametrize(("wanted", "interval"), [("0.3s", 2), ("1s", 10), ("10 s", 100), ("5min", 200)])
def test_seconds_between_evaluations_become_iterations_that_the_run_keeps(
    wanted: str, interval: int, corpus_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "_seconds_of_step", lambda model, recipe: 0.12)
    short = ["model=v1", "data=text", f"data.path={corpus_file}", "training.max_iters=200", "training.eval_iters=1"]
    run = gpt.train(*short, f"training.eval_interval={wanted}", folder=tmp_path / "run")
    assert [row.iteration for row in run.evaluations] == list(range(0, 201, interval))
    assert RunFolder(tmp_path / "run").config().training.eval_interval == interval


def test_measuring_the_speed_of_a_step_changes_no_bit_of_the_run(
    called: Script, corpus_file: Path, tmp_path: Path
) -> None:
    """Not with dropout's masks, in parts, or when resume=auto finds the run."""
    small = ["model=v7", "model.block_size=16", "model.n_embd=24", "model.n_layer=1", "training.grad_accumulation=2"]
    small += ["data=text", f"data.path={corpus_file}", "training.batch_size=4", "training.max_iters=6"]
    for folder, interval in (("timed", "1h"), ("plain", "6")):
        for more in ([], ["resume=auto"]):
            typed = [*small, f"training.eval_interval={interval}", f"hydra.run.dir={folder}", *more]
            done = called("train.py", *typed, "training.eval_iters=1", cwd=tmp_path)
            assert done.returncode == 0, done.stderr
            assert ("is finished" in done.stdout) == bool(more)
            assert ("every 6 iterations, at the speed" in done.stdout) == (not more and folder == "timed")
    weights = [(tmp_path / folder / "last.safetensors").read_bytes() for folder in ("timed", "plain")]
    assert weights[0] == weights[1]
    refused = called("train.py", *small, "training.eval_interval=0s", cwd=tmp_path)
    assert refused.stderr.endswith("must be a whole number or epoch or a duration, as in 30s or 5min\n")
