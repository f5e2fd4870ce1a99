"""A module of the caller's program that is trained instead of a stage."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gpt import models
from gpt.base.errors import RequestError
from gpt.data.batch import Batch

Module = nn.Module | Callable[[int], nn.Module]  # a model, or what makes one for a vocabulary of that size


def check_module(module: object) -> None:
    """Raise RequestError unless it may be a module or what makes one."""
    if not callable(module):
        raise RequestError(f"module is {type(module).__name__}, but must be a torch.nn.Module or a function of V")


def made(module: Module, vocab_size: int) -> nn.Module:
    """The module itself, or the one that it makes for a vocabulary of this size.

    Raises RequestError if it is no module, or lacks a block_size or parameters.
    """
    check_module(module)
    model = module if isinstance(module, nn.Module) else module(vocab_size)
    if not isinstance(model, nn.Module):
        raise RequestError(f"module made {type(model).__name__}, which is not a torch.nn.Module")
    models.check(model, type(model).__name__)
    return model


@torch.no_grad()
def check_logits(model: nn.Module, batch: Batch, vocab_size: int) -> None:
    """Raise RequestError unless a module that is no stage has trainable weights and logits of the right shape."""
    name, was_training = type(model).__name__, model.training
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise RequestError(f"{name} has no parameters to train: all of them have requires_grad=False")
    model.eval()
    with torch.random.fork_rng():
        logits = model(*(x[:1] for x in batch.inputs))
    model.train(was_training)
    expected, found = (*batch.targets[:1].shape, vocab_size), type(logits).__name__
    if isinstance(logits, Tensor):
        if logits.shape == expected and logits.is_floating_point():
            return
        found = f"{tuple(logits.shape)}, {str(logits.dtype).removeprefix('torch.')}"
    raise RequestError(f"{name} must return logits (B, T, V), here {expected}, but returned {found}")
