"""Gradients that are written by hand, because PyTorch's own take more passes over memory, and compiled ones."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gpt.data.batch import Batch
from gpt.models.rotary import Rotation
from gpt.models.squared_relu import SquaredReLU
from gpt.training.objectives import batch_loss
from tests.conftest import build_small

T, D = 5, 8


def derived_rotation(x: Tensor) -> Tensor:
    """Rotary positions as the paper writes them, in x's precision."""
    angles = torch.arange(T)[:, None] * 10_000 ** -torch.linspace(0, 1, D // 2)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


PAIRS = {
    "rotary positions": (Rotation(T, D, torch.device("cpu")), derived_rotation),
    "squared ReLU": (SquaredReLU(), lambda x: x.relu().square()),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", PAIRS)
def test_a_gradient_written_by_hand_is_the_derived_one(name: str, dtype: torch.dtype) -> None:
    ours, derived = PAIRS[name]
    x, seen = torch.randn(2, 2, 3, T, D).to(dtype)

    def results(function: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """The value with a gradient, that gradient, and the value without one."""
        given = x.clone().requires_grad_()
        y = function(given)
        assert y._version == 0  # what is changed in place, PyTorch 2.11 compiles without its gradient
        return [y.detach(), *torch.autograd.grad(y, given, seen), function(x)]

    assert all(torch.equal(*pair) for pair in zip(results(ours), results(derived), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["v6", "v8", "v9", "conv", "lstm", "linear_attention", "hybrid"])  # of each mechanism
def test_a_compiled_stage_in_training_has_the_same_gradients(stage: str) -> None:
    """And without a graph break."""
    model = build_small(stage).train()
    ids = torch.randint(65, (2, model.block_size + 1))
    batch = Batch.full(ids[:, :-1], ids[:, 1:])
    torch.compiler.reset()  # which forgets the other stages: the compiler gives up after eight variants of a function
    compiled = torch.compile(batch_loss, backend="aot_eager", fullgraph=True, dynamic=False)
    gradients = []
    for loss in (batch_loss, compiled):
        model.zero_grad()
        loss(model, batch).backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    torch.testing.assert_close(gradients[1], gradients[0])


def test_v8_has_gradients_for_each_example_under_torch_func() -> None:
    model, idx = build_small("v8", vocab_size=11), torch.randint(11, (3, 4))
    parameters = {name: value.detach() for name, value in model.named_parameters()}

    def loss(parameters: dict[str, Tensor], row: Tensor) -> Tensor:
        return torch.func.functional_call(model, parameters, (row[None],)).square().mean()

    found = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, idx)
    model(idx[1:2]).square().mean().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name][1], parameter.grad)
