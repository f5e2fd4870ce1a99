"""The floating-point operations of a training, against PyTorch's counter over all of it and against formulas."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from gpt.data.text import ShortWindows, TextData
from gpt.models import Remembering
from gpt.training import loop
from gpt.training.operations import ATTENTION_ON_CPU, operations
from gpt.training.state import State
from tests.conftest import small_corpus, text_data
from tests.training.helpers import bits, configured, small_trainer, train_up

STEPS = {"max_iters": 4, "eval_interval": 100, "batch_size": 4}


def trained_data(model: nn.Module) -> TextData:
    data = text_data(small_corpus(), block_size=model.block_size)
    if isinstance(model, Remembering):
        model.remember(data.ids("train"))
    return data


@pytest.mark.parametrize("stage", ["v1", "v7", "conv", "hybrid"])
def test_the_operations_of_a_training_are_those_that_pytorch_counts(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over every step, without the evaluations."""
    monkeypatch.setattr(loop, "estimated_losses", lambda *_: (1.0, 1.0))
    trainer = small_trainer(stage)
    data = trained_data(trainer.model)
    with FlopCounterMode(display=False, custom_mapping=ATTENTION_ON_CPU) as counted:
        train_up(trainer, data, grad_accumulation=2, **STEPS)
    assert operations(trainer) == counted.get_total_flops()
    assert (counted.get_total_flops() == 0) == (stage == "v1")  # which only looks up


def test_short_windows_count_in_the_iterations_that_have_them() -> None:
    trainer, data = small_trainer("v6"), text_data(small_corpus())
    short, long = ({"data": ShortWindows(data, 2, 30), "short_iters": 30}, {"data": data})

    def after(iterations: int, changes: dict[str, Any]) -> float:
        state = State(iteration=iterations, tokens=iterations)
        found = operations(configured(trainer, **changes, state=state))
        assert found is not None
        return found

    assert after(10, short) < after(10, long)
    assert after(40, short) == pytest.approx(after(30, short) + after(10, long))


def test_counting_changes_nothing() -> None:
    trainer, data = small_trainer("v7"), text_data(small_corpus())
    trainer.model.add_module("norm_of_inputs", nn.BatchNorm1d(1))  # which changes in every forward pass

    def read(model: nn.Module, inputs: tuple[Tensor]) -> None:
        model.get_submodule("norm_of_inputs")(inputs[0].float().unsqueeze(1))

    trainer.model.register_forward_pre_hook(read)
    before, draws = bits(trainer.model.state_dict()), torch.get_rng_state()
    operations(configured(trainer, data, state=State(iteration=1, tokens=1)))
    assert bits(trainer.model.state_dict()) == before
    assert torch.equal(torch.get_rng_state(), draws)
    assert all(parameter.grad is None for parameter in trainer.model.parameters())


def test_what_cannot_be_counted_has_no_number_of_operations() -> None:
    one, pairs = State(iteration=1, tokens=1), cast(Any, SimpleNamespace(lengths_vary=True))
    trainer = small_trainer("v1")
    assert operations(configured(trainer, pairs, state=one)) is None
    trainer.model = nn.Linear(1, 1)  # type: ignore[assignment]  # it reads no token ids
    assert operations(configured(trainer, text_data(small_corpus()), state=one)) is None
