"""The length of a run in epochs: it is stored in iterations, so that all else is as ever."""

from pathlib import Path

import pytest

import gpt
from gpt.data.batch import tokens_in_epoch
from gpt.runs.folder import RunFolder
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
