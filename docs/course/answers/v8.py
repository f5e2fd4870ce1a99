"""Answers to the exercises of docs/course/v8.md."""

import torch

from gpt.models.rotary import Rotation


def rotated_score(query_position: int, key_position: int) -> float:
    """The product of a query and a key, each rotated by its position."""
    draw = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 32, generator=draw).expand(2, 1, 1, 64, 32)  # the same at all of 64 positions
    rotation = Rotation(64, 32, torch.device("cpu"))
    return (rotation(q)[0, 0, query_position] @ rotation(k)[0, 0, key_position]).item()


def capped(x: float) -> tuple[float, float]:
    """A soft-capped logit, and its derivative."""
    logit = torch.tensor(x, requires_grad=True)
    y = 15 * torch.tanh(logit / 15)
    y.backward()
    return y.item(), logit.grad.item()  # type: ignore[union-attr]
