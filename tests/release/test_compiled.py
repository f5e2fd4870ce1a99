"""A loss that PyTorch compiles, which takes a minute."""

import shutil

import pytest
import torch
import torch._dynamo.utils

from gpt.data.text import TextData
from gpt.training.compilation import compile_losses, compiler_options
from gpt.training.loop import train
from gpt.training.objectives import Objective
from tests.conftest import CPU
from tests.training.helpers import configured, small_trainer


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler to compile with")
def test_a_compiled_loss_is_the_loss_and_is_compiled_once(data: TextData) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    results = []
    for is_compiled in (False, True):
        trainer = small_trainer("v7", dropout=0.0)
        trainer.model.train()
        with compiler_options(CPU.device):
            configured(trainer, data, loss=Objective())
            if is_compiled:
                compile_losses(trainer, Objective())
            train(trainer)
        results.append(trainer.state.evaluations[-1].val)
    assert results[1] == pytest.approx(results[0], abs=1e-5)
    counters = torch._dynamo.utils.counters
    assert counters["stats"]["unique_graphs"] == 1
    assert counters["aot_autograd"]["autograd_cache_saved"] == 0  # which PyTorch may crash at
