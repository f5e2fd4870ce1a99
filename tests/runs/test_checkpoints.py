"""Checkpoints: the newest whole one is found, and nothing of a run is lost with a damaged one."""

import math
import shutil
from pathlib import Path

import pytest
import torch

from gpt.base.errors import UserError
from gpt.runs.checkpoints import Checkpoint, Checkpoints
from gpt.runs.folder import RunFolder
from gpt.runs.tensors import read
from gpt.runs.weights import save_weights
from gpt.training.state import Evaluation, State
from tests.conftest import empty_run
from tests.losses import evaluation

EVALUATION = evaluation(5, 2.0, 2.5, 35)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return empty_run(tmp_path / "run")


def progress(iteration: int, best: Evaluation | None = None) -> State:
    best_iteration = best and best.iteration
    return State(iteration=iteration, tokens=7 * iteration, evaluations=[EVALUATION], best_iteration=best_iteration)


def tensors(iteration: int) -> dict[str, torch.Tensor]:
    return {"model.x": torch.full((3, 2), float(iteration)), "random.cpu": torch.get_rng_state()}


def save_best(run: RunFolder, value: float) -> None:
    save_weights(run, {"x": torch.tensor([value])}, "best", 5)


def newest(checkpoints: Checkpoints) -> Checkpoint:
    found = checkpoints.newest()
    assert found is not None
    return found


def with_checkpoints(run: RunFolder, *iterations: int, keep: int = 2, best: float | None = None) -> Checkpoints:
    """With the best weights of `EVALUATION` in each of them, if there is a value for these."""
    if best is not None:
        save_best(run, best)
    checkpoints = Checkpoints(run, keep)
    for iteration in iterations:
        checkpoints.save(progress(iteration, None if best is None else EVALUATION), tensors(iteration))
    return checkpoints


def test_a_checkpoint_is_read_bit_exactly_as_it_was_saved(run: RunFolder) -> None:
    assert (Checkpoints(run, 2).newest(), run.checkpoints()) == (None, [])
    found = newest(with_checkpoints(run, 10))
    assert found.state == progress(10)
    read = found.tensors()
    assert read.keys() == tensors(10).keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors(10).items())


@pytest.mark.parametrize("keep", [1, 5])
def test_the_newest_are_kept(run: RunFolder, keep: int) -> None:
    checkpoints = with_checkpoints(run, 10, 99_999_900, 99_999_950, 100_000_000, keep=keep)
    assert run.checkpoints() == [10, 99999900, 99999950, 100000000][-keep:]
    assert {int(path.name) for path in checkpoints.folder.iterdir()} == {*run.checkpoints()}


def test_a_state_with_inf_is_not_saved(run: RunFolder) -> None:
    checkpoints = with_checkpoints(run, 10)
    with pytest.raises(UserError, match=r"optimizer\.second_moment\.x"):
        checkpoints.save(progress(20), tensors(20) | {"optimizer.second_moment.x": torch.tensor([math.inf])})
    assert newest(checkpoints).state.iteration == 10


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("state.safetensors", "missing"),
        ("state.safetensors", "cut"),
        ("checkpoint.json", "cut"),
        ("checkpoint.json", "a folder"),
        ("best.safetensors", "cut"),
        ("state.safetensors", "of another iteration"),
    ],
)
def test_a_damaged_checkpoint_is_skipped_with_a_warning(
    run: RunFolder, name: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = with_checkpoints(run, 10, 20, best=1.0)
    file = checkpoints.folder / "00000020" / name
    content = bytearray(file.read_bytes())
    file.unlink()  # the best weights are linked
    if how == "cut":
        file.write_bytes(content[:-2])  # not only a line end
    elif how == "a folder":
        file.mkdir()
    elif how == "of another iteration":
        shutil.copy(run.checkpoint(10) / name, file)
    assert newest(checkpoints).state.iteration == 10
    (message,) = caplog.messages
    assert "00000020" in message
    assert ("another checkpoint" if how == "of another iteration" else name) in message


def test_a_checkpoint_restores_the_best_weights_of_its_moment(run: RunFolder) -> None:
    best = run.weights("best")
    with_checkpoints(run, 5)
    for iteration, value in ((10, 1.0), (20, 2.0)):
        with_checkpoints(run, iteration, keep=3, best=value)
    for iteration, value in ((10, 1.0), (20, 2.0)):
        Checkpoint.read(run.checkpoint(iteration)).restore_best(best)
        assert read(best)["x"].item() == value
    Checkpoint.read(run.checkpoint(5)).restore_best(best)
    assert {path.name for path in run.path.iterdir()} == {"run.json", "checkpoints"}


@pytest.mark.parametrize("name", ["00000020", ".new-0"])
def test_leftovers_of_a_killed_process_are_replaced(run: RunFolder, name: str) -> None:
    checkpoints = with_checkpoints(run, 10)
    shutil.copytree(checkpoints.folder / "00000010", checkpoints.folder / name)
    checkpoints.save(progress(20), tensors(20))
    assert {path.name for path in checkpoints.folder.iterdir()} == {"00000010", "00000020"}
    assert newest(checkpoints).state == progress(20)


def test_going_back_forgets_later_checkpoints(run: RunFolder) -> None:
    checkpoints = with_checkpoints(run, 10, 20, 30, keep=3)
    checkpoints.remove_after(20)
    assert run.checkpoints() == [10, 20]
    checkpoints.remove_after(0)
    assert run.checkpoints() == []


def test_a_file_system_without_links_has_copies(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("os.link", refuse)
    checkpoints = with_checkpoints(run, 10, best=1.0)
    copy = checkpoints.folder / "00000010" / "best.safetensors"
    assert copy.read_bytes() == run.weights("best").read_bytes()

    assert checkpoints.newest() is not None
