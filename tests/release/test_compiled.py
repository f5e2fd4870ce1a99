"""A loss that PyTorch compiles, which takes a minute."""

import shutil

import pytest
import torch
import torch._dynamo.utils

from gpt.data.text import TextData
from gpt.training.compilation import compiler_options, training_losses
from gpt.training.objectives import Objective
from tests.conftest import CPU
from tests.training.helpers import small_state, train_state


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler to compile with")
def test_a_compiled_loss_is_the_loss_and_is_compiled_once(data: TextData) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    results = []
    for is_compiled in (False, True):
        state = small_state("v7", dropout=0.0)
        example = data.training_batch(1, 0, 32)
        model = state.model.train()
        with compiler_options(CPU.device):
            loss, reported = training_losses(model, [example], CPU, Objective(), parts=1, compile=is_compiled)
            train_state(state, data, loss=loss, reported_loss=reported)
        results.append(state.progress.evaluations[-1].val)
    assert results[1] == pytest.approx(results[0], abs=1e-5)
    counters = torch._dynamo.utils.counters
    assert counters["stats"]["unique_graphs"] == 1
    assert counters["aot_autograd"]["autograd_cache_saved"] == 0  # which PyTorch may crash at
