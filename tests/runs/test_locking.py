"""A run writes to the folder that it locked, or not at all."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gpt.base.errors import LostFolderError, UnavailableError
from gpt.base.files import attempt
from gpt.cli.requesting import of_python
from gpt.runs.checkpoints import Checkpoints
from gpt.runs.creation import created_at
from gpt.runs.folder import RunFolder
from gpt.runs.weights import save_weights
from gpt.session.train import main
from gpt.training.progress import Progress
from gpt.training.state import TrainingState
from gpt.training.watchers import Watcher
from tests.conftest import empty_run

PROGRESS = Progress(iteration=5)
TENSORS = {"x": torch.ones(3)}
WRITERS: dict[str, Callable[[RunFolder], None]] = {
    "a file": lambda run: run.write("sample.txt", "To be"),
    "the metrics": lambda run: run.write_metrics(PROGRESS),
    "a command line": lambda run: run.write_command("python train.py", 0),
    "the weights": lambda run: save_weights(run, TENSORS, "last", 5),
    "a snapshot": lambda run: save_weights(run, TENSORS, 5, 5),
    "a checkpoint": lambda run: Checkpoints(run, 1).save(PROGRESS, TENSORS),
    "fewer checkpoints": lambda run: Checkpoints(run, 1).remove_after(2),
    "what resuming removes": lambda run: run.mark_training(),
}


class AnotherRun(Watcher):
    """After some iterations, moves the run elsewhere and puts another at its place."""

    def __init__(self, folder: Path, other: Path) -> None:
        self._folder, self._other = folder, other

    def evaluated(self, state: TrainingState) -> None:
        if state.progress.iteration == 20:
            self._folder.rename(self._folder.with_name("moved"))
            shutil.copytree(self._other, self._folder)


def content(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("what", WRITERS)
def test_nothing_is_written_where_the_folder_is_another_or_gone(what: str, tmp_path: Path) -> None:
    run = empty_run(tmp_path / "run")

    def check_nothing_is_written() -> None:
        before = content(tmp_path)
        with pytest.raises(LostFolderError, match="run was moved, replaced or removed"):
            attempt(what, lambda: WRITERS[what](run))
        assert content(tmp_path) == before

    with run.locked():
        run.path.rename(tmp_path / "moved")
        if what != "fewer checkpoints":  # there are none
            check_nothing_is_written()
        with created_at(run.path) as other:
            save_weights(other, TENSORS, 5, 5)
            Checkpoints(other, 1).save(PROGRESS, TENSORS)
        check_nothing_is_written()


def test_a_copy_of_hard_links_takes_no_lock_away(tmp_path: Path) -> None:
    """Such as one that `cp -al` makes of a run that is being written."""
    run = empty_run(tmp_path / "run")
    with run.locked():
        (tmp_path / "copy").mkdir()
        (tmp_path / "copy" / ".lock").hardlink_to(run.path / ".lock")
        for folder in (run.path, tmp_path / "copy"):
            with pytest.raises(UnavailableError), RunFolder(folder).locked():
                pass
        run.write("sample.txt", "To be")


def test_a_file_does_not_get_its_name_if_the_folder_is_moved_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = empty_run(tmp_path / "run")
    check = run.lock.check

    def moved_before_the_check() -> None:
        if any(path.stat().st_size for path in run.path.glob(".last*")):  # before the second one
            run.path.rename(tmp_path / "moved")
            run.path.mkdir()
        check()

    monkeypatch.setattr(run.lock, "check", moved_before_the_check)
    with run.locked(), pytest.raises(LostFolderError):
        save_weights(run, TENSORS, "last", 5)
    assert content(run.path) == {}
    assert not (tmp_path / "moved" / "last.safetensors").exists()


def test_the_lock_of_a_folder_that_was_moved_there_and_back_still_holds(tmp_path: Path) -> None:
    run = empty_run(tmp_path / "run")
    with run.locked():
        run.path.rename(tmp_path / "moved")
        (tmp_path / "moved").rename(run.path)
        run.write("sample.txt", "To be")
        with pytest.raises(UnavailableError, match="another process"), RunFolder(run.path).locked():
            pass


def test_two_runs_never_mix_in_one_folder_even_if_that_of_one_is_moved_away(corpus_file: Path, tmp_path: Path) -> None:
    def train(folder: Path, *others: str, watchers: tuple[Watcher, ...] = ()) -> None:
        settings = ("training.max_iters=40", "training.eval_interval=10", "training.eval_iters=2")
        data = ("data=text", f"data.path='{corpus_file}'", "checkpoint.interval=10", "checkpoint.min_seconds=0")
        main(*of_python(["model=v1", *settings, *data, *others, f"hydra.run.dir={folder}"]), watchers)

    folder, other = tmp_path / "run", tmp_path / "other"
    train(other, "seed=2")
    with pytest.raises(LostFolderError):
        train(folder, "logger=csv", watchers=(AnotherRun(folder, other),))
    assert content(folder) == content(other)
    moved = RunFolder(tmp_path / "moved")
    assert [evaluation.iteration for evaluation in moved.evaluations()] in ([0, 10], [0, 10, 20])
    main(*of_python([f"resume={moved.path}"]))
    train(tmp_path / "unbroken", "logger=csv")
    assert moved.weights("last").read_bytes() == RunFolder(tmp_path / "unbroken").weights("last").read_bytes()
