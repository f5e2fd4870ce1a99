"""A small stage's compiled step is a library that is the same function, is kept, and is never trusted unseen."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gpt.data.batch import Batch
from gpt.data.text import TextData
from gpt.training import compilation
from gpt.training.compilation import PrecompiledLoss, RandomNumbersError, training_losses
from gpt.training.memory import recompute_blocks
from gpt.training.objectives import Objective, batch_loss
from tests.conftest import CPU
from tests.training.helpers import small_state, train_state

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler to compile with"),
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where libraries are kept in a test; CI machines and users have others."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "gpt-ladder"


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The libraries that were compiled during a test."""
    done: list[Path] = []
    compile_ = compilation._compile
    monkeypatch.setattr(compilation, "_compile", lambda *args: (done.append(args[2]), compile_(*args)))
    return done


def compiled(model: nn.Module, batch: Batch) -> PrecompiledLoss:
    loss = PrecompiledLoss(model, Objective(), CPU)
    loss(model, batch)
    return loss


def test_a_library_trains_as_the_model_does_and_is_compiled_once(
    data: TextData, cache: Path, compilations: list[Path]
) -> None:
    """Its activations, which are computed again, are those of the present weights."""
    results = []
    for is_compiled in (False, True, True):
        state = small_state("v5")
        if is_compiled:
            recompute_blocks(state.model)
        example = data.training_batch(1, 0, 32)
        loss, reported = training_losses(
            state.model.train(), [example], CPU, Objective(label_smoothing=0.1), parts=1, compile=is_compiled
        )
        assert isinstance(loss, PrecompiledLoss) == is_compiled
        train_state(state, data, loss=loss, reported_loss=reported)
        results.append(state.progress.evaluations[-1].val.nats)
    assert results[1] == pytest.approx(results[0], abs=1e-5)
    assert results[2] == results[1]
    assert len(compilations) == 1
    assert len(list(cache.iterdir())) == 1


def test_a_library_of_each_shape_is_compiled_again_if_it_is_damaged_or_of_another_model_or_cannot_be_kept(
    data: TextData, cache: Path, compilations: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    model, other = small_state("v1").model, small_state("v2").model
    batches = [data.training_batch(1, 0, size) for size in (4, 2)]
    loss, _ = training_losses(model, batches, CPU, Objective(), parts=1, compile=True)
    for batch in (*batches, batches[0]):
        torch.testing.assert_close(loss(model, batch), batch_loss(model, batch))
    assert len(compilations) == 2  # before training

    monkeypatch.setattr(compilation, "_fingerprint", lambda *_: "same")
    next(cache.iterdir()).rename(cache / "same.pt2")
    for damage in ("another model", "another file", "a file in the way"):
        if damage == "another file":
            (cache / "same.pt2").write_bytes(b"not a library")
        elif damage == "a file in the way":
            shutil.rmtree(cache)
            cache.write_text("")
        loss = compiled(other, batch)
        torch.testing.assert_close(loss(other, batch), batch_loss(other, batch))
    assert len(compilations) == 5
    assert "the compiled step could not be written" in caplog.text


def test_dropout_is_left_to_the_compiler_that_runs_with_it(data: TextData, compilations: list[Path]) -> None:
    model = small_state("v7", dropout=0.5).model.train()
    with pytest.raises(RandomNumbersError):
        compiled(model, data.training_batch(1, 0, 4))


def test_what_a_library_depends_on_changes_its_name(data: TextData) -> None:
    batch = data.training_batch(1, 0, 4)

    def name(**changes: int) -> str:
        model = small_state("v6", **changes).model
        return compilation._fingerprint(compilation._Step(model, 0.0, CPU), [*model.parameters(), batch.targets])

    threads = torch.get_num_threads()
    assert name() == name()
    assert name(n_layer=1) != name(n_layer=2)
    try:
        torch.set_num_threads(1)
        alone = name()
        torch.set_num_threads(2)
        assert alone != name()
    finally:
        torch.set_num_threads(threads)
