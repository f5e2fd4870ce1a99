"""Snapshots: the weights of a run at moments of its training are those of a run that ends there."""

import itertools
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import gpt
from gpt.base.errors import UserError
from gpt.runs.folder import RunFolder
from gpt.runs.weights import snapshot_iterations
from tests.conftest import Script, succeeded
from tests.results import content

pytestmark = pytest.mark.slow

SHORT = [
    "training.eval_interval=20",
    "training.eval_iters=2",
    "device=cpu",
    "checkpoint.interval=30",
    "checkpoint.min_seconds=0",
    "checkpoint.keep=100",
    "data=text",
]
TRAINED = ("metrics.jsonl", "best.safetensors", "last.safetensors", "sample.txt")
KEPT = [0, 1, 2, 4, 8, 16, 31, 60]  # of 60 iterations, with checkpoint.snapshots=7


def train(corpus_file: Path, folder: Path, *changes: str) -> RunFolder:
    own = ["model=v5", "training.max_iters=60", "checkpoint.snapshots=7"]
    return gpt.train(*own, *SHORT, f"data.path={corpus_file}", *changes, folder=folder).run


@pytest.fixture(scope="module")
def finished(corpus_file: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train(corpus_file, tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def run(finished: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy that a test may damage."""
    return RunFolder(shutil.copytree(finished.path, tmp_path / "run"))


def contents(run: RunFolder) -> dict[str, bytes]:
    """All that a run's training determines."""
    return {name: content(run.path / name) for name in TRAINED} | {
        path.name: path.read_bytes() for path in (run.path / "snapshots").iterdir()
    }


@given(st.integers(1, 10**6))
def test_moments_span_the_training_at_growing_distances(max_iters: int) -> None:
    found = snapshot_iterations(20, max_iters)
    assert (found[0], found[-1]) == (0, max_iters)
    assert len(found) == 21 or max_iters < 1000
    steps = [after - before for before, after in itertools.pairwise(found)]
    assert all(later >= step - 1 for step, later in itertools.pairwise(steps))  # rounded
    assert snapshot_iterations(1, max_iters) == [0, max_iters]
    assert snapshot_iterations(0, max_iters) == []
    assert len(snapshot_iterations(2**31 - 1, 5)) <= 6  # soon, too


def test_a_snapshot_equals_a_run_that_ends_there(finished: RunFolder, corpus_file: Path, tmp_path: Path) -> None:
    assert finished.snapshots() == KEPT
    for iteration in (1, 8, 31):
        ended = train(corpus_file, tmp_path / f"{iteration}", f"training.max_iters={iteration}")
        kept, last = (load_file(path) for path in (finished.weights(iteration), ended.weights("last")))
        assert kept.keys() == last.keys()
        assert all(torch.equal(kept[name], last[name]) for name in last)
    initial = load_file(tmp_path / "1" / "snapshots" / "00000000.safetensors")
    assert all(torch.equal(initial[name], x) for name, x in load_file(finished.weights(0)).items())
    assert any(not torch.equal(initial[name], x) for name, x in load_file(finished.weights(1)).items())


def test_snapshots_do_not_change_the_training(finished: RunFolder, corpus_file: Path, tmp_path: Path) -> None:
    without = train(corpus_file, tmp_path / "without", "checkpoint.snapshots=0")
    assert not (without.path / "snapshots").exists()
    for name in TRAINED:
        assert content(without.path / name) == content(finished.path / name)


def test_an_average_changes_neither_training_nor_snapshots(
    finished: RunFolder, corpus_file: Path, tmp_path: Path
) -> None:
    averaged = train(corpus_file, tmp_path / "averaged", "training.ema=0.9")
    last, kept, average = (load_file(averaged.weights(which)) for which in ("last", 60, "averaged"))
    assert all(tensor.equal(last[name]) for name, tensor in load_file(finished.weights("last")).items())
    assert all(torch.equal(last[name], kept[name]) for name in last)
    assert any(not torch.equal(average[name], kept[name]) for name in last)


def test_resuming_replaces_what_came_after_the_checkpoint(run: RunFolder, finished: RunFolder, called: Script) -> None:
    expected = contents(finished)
    (run.path / "snapshots" / "00000055.safetensors").write_bytes(b"of another future")
    (run.path / "snapshots" / ".00000031.safetensors.0123abcd").write_bytes(b"what a killed process was writing")
    run.weights(31).write_bytes(b"too")
    (run.path / "summary.json").unlink(missing_ok=True)
    for later in filter(lambda iteration: iteration > 30, run.checkpoints()):
        shutil.rmtree(run.checkpoint(later))
    succeeded(called("train.py", f"resume={run.path}", cwd=run.path))
    assert contents(run) == expected


def test_a_run_ended_early_is_judged_by_its_best_weights(corpus_file: Path, tmp_path: Path) -> None:
    run = train(corpus_file, tmp_path / "run", "training.patience=1", "training.learning_rate=1.0")
    assert run.summary().iterations == 20
    assert run.snapshots() == [*(i for i in KEPT if i < 20), 20]  # with the weights of its end
    best, last = (gpt.load(run.path, weights=which) for which in ("best", "last"))
    text = corpus_file.read_text()
    held_out = text[int(0.9 * len(text)) :]
    assert run.summary().exact.nats == pytest.approx(best.loss(held_out), abs=1e-5)
    assert best.loss(held_out) < last.loss(held_out) - 0.01
    assert "by the best weights" in (run.path / "train.log").read_text()


def test_the_weights_of_a_moment_are_loaded_by_its_iteration(run: RunFolder, called: Script) -> None:
    model, saved = gpt.load(run.path, weights=8, device="cpu").model, load_file(run.weights(8))
    assert all(torch.equal(saved[name], x) for name, x in model.state_dict().items())
    done = called("generate.py", f"run={run.path}", "weights=8", "tokens=20", cwd=run.path)
    assert "v5, weights after 8 iterations of" in done.stderr
    assert done.stdout.rstrip("\n") == gpt.load(run.path, weights=8, device="cpu").generate(tokens=20).rstrip("\n")


def test_a_missing_snapshot_is_named_with_those_that_are_there(run: RunFolder) -> None:
    run.weights(8).unlink()
    with pytest.raises(UserError, match=r"00000008.* 0, 1, 2, 4, 16, 31, 60$"):
        gpt.load(run.path, weights=8)
