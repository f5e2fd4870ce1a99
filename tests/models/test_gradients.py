"""Gradients that are written by hand, because PyTorch's own take more passes over memory, and compiled ones."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

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


def results(function: Callable[[Tensor], Tensor], x: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """The function's value and the gradient that it passes back."""
    x = x.detach().requires_grad_()
    y = function(x)
    y.backward(seen)
    assert x.grad is not None
    return y.detach(), x.grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", PAIRS)
def test_a_gradient_written_by_hand_is_the_derived_one(name: str, dtype: torch.dtype) -> None:
    ours, derived = PAIRS[name]
    x = torch.randn(2, 3, T, D).to(dtype)
    seen = torch.randn(2, 3, T, D).to(dtype)
    for mine, theirs in zip(results(ours, x, seen), results(derived, x, seen), strict=True):
        assert torch.equal(mine, theirs)
    assert torch.equal(ours(x), derived(x))  # without a gradient


@pytest.mark.parametrize("name", PAIRS)
def test_a_value_with_a_gradient_written_by_hand_is_not_made_in_place(name: str) -> None:
    """PyTorch 2.11 compiles such a value without its gradient; other versions do not show it."""
    with _InPlace() as operations:
        y = PAIRS[name][0](torch.randn(2, 3, T, D, requires_grad=True))
    assert y.data_ptr() not in [tensor.data_ptr() for tensor in operations.results]


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


class _InPlace(TorchDispatchMode):
    """Keeps the result of every operation that changes one of its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.results: list[Tensor] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        if operation._schema.is_mutable:
            self.results.append(result)
        return result


def test_v8_has_gradients_for_each_example_under_torch_func() -> None:
    model, idx = build_small("v8", vocab_size=11), torch.randint(11, (3, 4))
    parameters = {name: value.detach() for name, value in model.named_parameters()}

    def loss(parameters: dict[str, Tensor], row: Tensor) -> Tensor:
        return torch.func.functional_call(model, parameters, (row[None],)).square().mean()

    found = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, idx)
    model(idx[1:2]).square().mean().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name][1], parameter.grad)
