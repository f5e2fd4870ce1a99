"""The loss that is trained: label smoothing, and the token after the next for any stage with an output layer."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gpt.base.errors import RequestError
from gpt.data.batch import Batch
from gpt.data.text import TextData
from gpt.models import Remembering
from gpt.training.objectives import Objective, batch_loss
from gpt.training.optimizers import AdamW
from tests.conftest import build_small
from tests.training.helpers import VOCAB_SIZE, bits


def prepared(stage: str, objective: Objective) -> nn.Module:
    """A stage in training mode whose second output layer is not zero any more."""
    model = build_small(stage, vocab_size=VOCAB_SIZE, **({"dropout": 0.0} if stage == "v7" else {}))
    if isinstance(model, Remembering):
        model.remember(torch.arange(VOCAB_SIZE))
    objective.prepare(model)
    nn.init.normal_(model.second_head.weight)
    return model.train()


def test_label_smoothing_is_that_of_pytorch(data: TextData) -> None:
    model, batch = build_small("v5", vocab_size=VOCAB_SIZE), data.training_batch(seed=0, iteration=0, batch_size=4)
    expected = cross_entropy(model(*batch.inputs).flatten(0, 1), batch.targets.flatten(), label_smoothing=0.2)
    assert torch.equal(Objective(label_smoothing=0.2)(model, batch), expected)
    assert torch.equal(Objective()(model, batch), batch_loss(model, batch))


@pytest.mark.parametrize("stage", ["v2", "v9", "min_gru"])
def test_the_token_after_the_next_is_learned_in_training_only(stage: str, data: TextData) -> None:
    objective = Objective(multi_token=0.3)
    model, batch = prepared(stage, objective), data.training_batch(seed=0, iteration=0, batch_size=4)
    (idx,) = batch.inputs
    first = cross_entropy(model(idx).flatten(0, 1), batch.targets.flatten())
    read: list[Tensor] = []
    model.lm_head.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    trained = objective(model, batch)
    text = torch.cat([idx, batch.targets[:, -1:]], dim=1)  # (B, T + 1)
    second = cross_entropy(model.second_head(read[0])[:, :-1].flatten(0, 1), text[:, 2:].flatten())
    assert trained.item() == pytest.approx((first + 0.3 * second).item(), abs=1e-6)
    if stage == "v9":  # no graph break
        compiled = torch.compile(objective.__call__, backend="eager", fullgraph=True, dynamic=False)
        torch.testing.assert_close(compiled(model, batch), trained)
    trained.backward()
    assert model.second_head.weight.grad.abs().sum() > 0
    assert objective(model.eval(), batch).item() == pytest.approx(first.item(), abs=1e-6)
    assert batch_loss(model.train(), batch).item() == pytest.approx(first.item(), abs=1e-6)


def test_the_second_output_layer_does_not_disturb_the_first_update(data: TextData) -> None:
    gradients = []
    for objective in (Objective(), Objective(multi_token=0.3)):
        model = build_small("v6", vocab_size=VOCAB_SIZE)
        objective.prepare(model)
        objective(model.train(), data.training_batch(seed=0, iteration=0, batch_size=4)).backward()
        gradients.append([p.grad for name, p in model.named_parameters() if not name.startswith("second_head")])
    assert all(map(torch.equal, *gradients))


def test_a_copied_model_has_its_own_second_output_layer(data: TextData) -> None:
    objective = Objective(multi_token=0.3)
    model, batch = prepared("v6", objective), data.training_batch(seed=0, iteration=0, batch_size=4)
    other = copy.deepcopy(model)
    nn.init.normal_(other.lm_head.weight)
    nn.init.normal_(other.second_head.weight)
    expected = objective(other, batch)
    objective(model, batch)
    assert torch.equal(objective(other, batch), expected)


def test_a_stage_that_lacks_what_it_needs_is_refused() -> None:
    with pytest.raises(RequestError, match=r"training\.multi_token"):
        Objective(multi_token=0.3).prepare(build_small("v1"))


def test_windows_of_one_token_have_no_second_target() -> None:
    objective = Objective(multi_token=0.3)
    model = prepared("v5", objective)
    batch = Batch((torch.zeros(2, 1, dtype=torch.int64),), torch.ones(2, 1, dtype=torch.int64), 2)
    assert torch.equal(objective(model, batch), batch_loss(model, batch))
    objective(model, batch).backward()
    before = bits(model.state_dict())
    AdamW(model, 1e-3, 0.1, 0.9, 0.99).step({"all": 1e-3}, torch.zeros(()))
    after = bits(model.state_dict())
    assert {name for name in before if before[name] == after[name]} == {"second_head.weight", "second_head.bias"}
