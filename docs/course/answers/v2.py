"""Answers to the exercises of docs/course/v2.md."""

import torch
from torch import nn


@torch.no_grad()
def changed_positions(model: nn.Module) -> list[bool]:
    """Whether the logits at each position change when the last token of a window does."""
    idx = torch.randint(65, (1, 8))
    other = idx.clone()
    other[0, -1] = (idx[0, -1] + 1) % 65
    return (model(idx) != model(other)).any(dim=-1)[0].tolist()


def largest_weight(head_size: int, *, scaled: bool) -> float:
    """The mean of the largest attention weight among eight random keys."""
    draw = torch.Generator().manual_seed(0)
    q = torch.randn(1000, 1, head_size, generator=draw)
    k = torch.randn(1000, 8, head_size, generator=draw)
    scores = q @ k.transpose(-2, -1)  # (1000, 1, 8)
    if scaled:
        scores = scores * head_size**-0.5
    return scores.softmax(dim=-1).amax(dim=-1).mean().item()


@torch.no_grad()
def tells_apart(model: nn.Module, one: list[int], other: list[int]) -> bool:
    """Whether the last position's logits differ between two windows."""
    logits = model(torch.tensor([one, other]))[:, -1]
    return not torch.allclose(logits[0], logits[1], atol=1e-5)
