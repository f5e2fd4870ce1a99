"""Answers to the exercises of docs/lab/machines.md."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from gpt.models.v5_residual import GPT


def halves_add_up() -> bool:
    """Whether the mean of the gradients of two halves of a batch is the gradient of the batch."""
    torch.manual_seed(0)
    model = GPT(vocab_size=65, block_size=8, n_embd=32, n_head=4, n_layer=3)
    windows = torch.randint(65, (32, 9))

    def gradient(rows: Tensor) -> Tensor:
        loss = cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])

    halves = (gradient(windows[:16]) + gradient(windows[16:])) / 2
    return torch.allclose(halves, gradient(windows), atol=1e-6)


def bytes_per_step(parameters: int, bytes_per_number: int = 4) -> int:
    """The bytes that a process sends in a ring all-reduce of the gradients: about two numbers per parameter."""
    return 2 * bytes_per_number * parameters
