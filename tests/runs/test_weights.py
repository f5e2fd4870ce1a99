"""Weights: bit-exact, of the right shapes, and never code."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from gpt.base.errors import RequestError, UserError
from gpt.runs.folder import RunFolder
from gpt.runs.weights import iteration_of, load_model, load_weights, save_weights, selected
from tests.conftest import build_small, empty_run


@pytest.mark.parametrize("make", [lambda seed: build_small("v6", seed=seed), lambda _: nn.BatchNorm1d(3)])
def test_weights_are_read_bit_exactly_as_they_were_saved(tmp_path: Path, make: Callable[[int], nn.Module]) -> None:
    """Also a single number, such as `num_batches_tracked`."""
    run, saved, read = empty_run(tmp_path / "run"), make(0), make(1)
    for buffer in saved.buffers():
        buffer += 1
    save_weights(run, saved.state_dict(), "best", 0)
    load_weights(run, read, "best")
    assert all(torch.equal(a, b) for a, b in zip(saved.state_dict().values(), read.state_dict().values(), strict=True))


def test_foreign_or_missing_weights_leave_the_model_as_it_was(run: RunFolder) -> None:
    model = build_small("v6")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UserError, match=r"last\.safetensors"):
        load_weights(run, model, "last")
    with pytest.raises(UserError, match=r"averaged\.safetensors"):
        load_weights(run, model, "averaged")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_averaged_weights_are_selected_where_a_run_has_them(run: RunFolder) -> None:
    assert selected(run, "auto") == "best"
    shutil.copy(run.weights("last"), run.weights("averaged"))
    assert selected(run, "auto") == "averaged"
    assert [selected(run, which) for which in ("best", "last", "averaged")] == ["best", "last", "averaged"]
    (run.path / "summary.json").unlink()
    assert selected(run, "auto") == "best"  # of a run that is extended, the average is that of its previous end


def test_weights_say_after_how_many_iterations_they_were_saved(run: RunFolder) -> None:
    assert iteration_of(run, "last") == 60
    with safe_open(run.weights("last"), "pt") as file:  # as any other program reads it
        assert file.metadata() == {"iteration": "60"}


@pytest.mark.parametrize("target", ["os.system", "gpt.models.build"])
def test_a_configuration_that_asks_for_foreign_code_is_refused(run: RunFolder, target: str) -> None:
    path = run.path / "config.yaml"
    before = path.read_text()
    assert "gpt.models.v7_dropout.GPT" in before
    path.write_text(before.replace("gpt.models.v7_dropout.GPT", target))
    with pytest.raises(RequestError, match=f"_target_={target}"):
        load_model(run, "last")
