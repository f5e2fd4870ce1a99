"""A run writes to the folder that it locked, or not at all."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gpt.base.errors import LostFolderError, UnavailableError
from gpt.base.files import attempt
from gpt.runs.checkpoints import Checkpoints
from gpt.runs.creation import created_at
from gpt.runs.folder import RunFolder
from gpt.runs.weights import save_weights
from gpt.training.progress import Progress
from tests.conftest import empty_run
from tests.faults.trials import tree

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


@pytest.mark.parametrize("what", WRITERS)
def test_nothing_is_written_where_the_folder_is_another_or_gone(what: str, tmp_path: Path) -> None:
    run = empty_run(tmp_path / "run")

    def check_nothing_is_written() -> None:
        before = tree(tmp_path)
        with pytest.raises(LostFolderError, match="run was moved, replaced or removed"):
            attempt(what, lambda: WRITERS[what](run))
        assert tree(tmp_path) == before

    with run.locked():
        run.path.rename(tmp_path / "moved")
        if what != "fewer checkpoints":  # there are none
            check_nothing_is_written()
        with created_at(run.path) as other:
            save_weights(other, TENSORS, 5, 5)
            Checkpoints(other, 1).save(PROGRESS, TENSORS)
        check_nothing_is_written()


def test_a_lock_holds_beside_a_copy_of_hard_links_and_after_the_folder_was_moved_there_and_back(tmp_path: Path) -> None:
    """The copy is one that `cp -al` makes of a run that is being written."""
    run, copy = empty_run(tmp_path / "run"), tmp_path / "copy"
    with run.locked():
        copy.mkdir()
        (copy / ".lock").hardlink_to(run.path / ".lock")
        run.path.rename(tmp_path / "moved")
        (tmp_path / "moved").rename(run.path)
        for folder in (run.path, copy):
            with pytest.raises(UnavailableError, match="another process"), RunFolder(folder).locked():
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
    assert tree(run.path) == {}
    assert not (tmp_path / "moved" / "last.safetensors").exists()
