"""The gradient of a batch: in parts, to save memory, and summed over all processes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gpt.base.runtime import is_large
from gpt.base.stopping import Stop
from gpt.data.batch import Batch
from gpt.training.objectives import Autograd, Gradient, Objective
from gpt.training.trainer import Trainer

_RECORDED_FROM = 100  # iterations: recording takes up to a tenth of a second
_STOP_INTERVAL_ON_GPU = 16  # iterations between reads of the other processes' stop flag: each waits for the GPU


def gradient_of(trainer: Trainer) -> Gradient:
    """The function that computes the gradient: autograd, or a recording of it where that is faster."""
    autograd = Autograd(trainer.loss, trainer.runtime)
    is_small = trainer.runtime.device.type == "cpu" and not is_large(trainer.model)
    is_repeated = not trainer.data.lengths_vary and trainer.settings.max_iters >= _RECORDED_FROM
    is_plain = isinstance(trainer.loss, Objective) and not trainer.settings.recompute and trainer.world.size == 1
    if not (is_small and is_repeated and is_plain):
        return autograd
    from gpt.training.gradient_tape import RecordedGradient

    return RecordedGradient(trainer.model, autograd)


def backward(trainer: Trainer, batch: Batch, gradient: Gradient) -> Tensor:
    """Accumulate the gradient of this process's rows of the batch, in `grad_accumulation` parts to save memory.

    Returns this rank's share of the batch's mean loss, a scalar. The sum over all ranks gives the loss and the gradient
    of the batch.
    """
    world = trainer.world
    own = batch.part(world.rank, world.size) if world.size > 1 else batch
    total = torch.zeros((), device=trainer.runtime.device)
    for part in own.split(trainer.settings.grad_accumulation):
        loss = gradient(trainer.model, part, 1.0 if part is batch else part.tokens / batch.tokens)
        if part.tokens:  # Fewer rows than parts leave some parts empty, with a mean of NaN.
            total += loss
    return total


def all_reduce(trainer: Trainer, mean: Tensor, gradients: list[Tensor], stop: Stop) -> tuple[bool, float | None]:
    """Sum the loss and gradients over all processes; return whether another one was asked to stop, and the time.

    The time is the mean of the processes' clocks, in seconds of training, so that all plan the same iterations; None if
    it was not read.
    """
    world = trainer.world
    if world.size == 1:
        return False, None if trainer.settings.seconds is None else trainer.seconds
    shared = mean.new_tensor([stop.requested is not None, trainer.seconds / world.size])
    world.all_reduce_sum(mean, shared, *gradients)
    if trainer.runtime.device.type != "cpu" and trainer.state.iteration % _STOP_INTERVAL_ON_GPU:
        return False, None
    stops, seconds = shared.tolist()
    return stops > 0, seconds


def clip(trainer: Trainer, parameters: Sequence[Tensor], gradients: list[Tensor]) -> Tensor | None:
    """Scale the gradients down to the norm `grad_clip`; returns their norm before, if it is clipped or logged."""
    settings, following = trainer.settings, trainer.state.iteration + 1
    is_logged = settings.log_interval is not None and following % settings.log_interval == 0
    if settings.grad_clip is None and not is_logged:
        return None
    norm = nn.utils.get_total_norm(gradients)
    if settings.grad_clip is not None:
        nn.utils.clip_grads_with_norm_(parameters, settings.grad_clip, norm)
    return norm
