"""Answers to the exercises of docs/course/v7.md."""

import torch
from torch import Tensor, nn

from gpt.models.attention import Dropout


def plain_dropout(x: Tensor, p: float) -> Tensor:
    """Dropout as v7 applies it in training."""
    is_kept = torch.rand_like(x) >= p
    return x * is_kept / (1 - p)


def mean_and_variance(p: float) -> tuple[float, float]:
    """The mean and variance of a million ones after dropout."""
    torch.manual_seed(0)
    y = Dropout(p).train()(torch.ones(1_000_000))
    return y.mean().item(), y.var().item()


@torch.no_grad()
def repeats(model: nn.Module) -> bool:
    """Whether the same window gives the same logits twice."""
    idx = torch.randint(65, (1, 32))
    return torch.equal(model(idx), model(idx))
