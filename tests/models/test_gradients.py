"""Gradients that are written by hand, because PyTorch's own take more passes over memory: they are the same bits."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gpt.models.rotary import Rotation
from gpt.models.squared_relu import SquaredReLU

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
def test_a_gradient_written_by_hand_is_that_of_finite_differences(name: str) -> None:
    """In double precision, away from ReLU's corner."""
    x = torch.randn(1, T, D, dtype=torch.double)
    x = (x + 0.1 * x.sign()).requires_grad_()
    assert torch.autograd.gradcheck(PAIRS[name][0], x)
