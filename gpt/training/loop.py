"""The training loop, the same for every stage."""

import contextlib
import signal
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gpt.base.stopping import Stop, Stopped, listening
from gpt.data.batch import Batch
from gpt.training.evaluation import estimated_losses
from gpt.training.metrics import means
from gpt.training.objectives import BatchLoss, Gradient
from gpt.training.optimizers import has_nonfinite
from gpt.training.progress import Evaluation
from gpt.training.recipe import Recipe
from gpt.training.state import TrainingState
from gpt.training.watchers import Watcher, Watchers

_STOP_INTERVAL_ON_GPU = 16  # iterations between reads of the other processes' stop flag: each waits for the GPU


def train(state: TrainingState, recipe: Recipe, watchers: Sequence[Watcher] = ()) -> None:
    """Train `state.model` in place, from the current iteration to the last; then load the averaged weights, if any.

    The watchers are called by phase. Raises Stopped, between two steps, after a signal.
    """
    model, optimizer, progress = state.model, state.optimizer, state.progress
    settings, world = recipe.settings, recipe.world
    parameters, gradient = list(optimizer.parameters.values()), recipe.gradient(model)
    watching = Watchers(watchers)
    is_stopping = False
    model.train()
    state.start_clock()
    with listening() as stop:
        while True:
            # Evaluate, if due.
            if recipe.evaluates(progress) and not state.is_evaluated:
                with state.clock_stopped():
                    _evaluate(state, recipe, watching, stop)

            # Between two steps: checkpoint, stop.
            is_stopping = is_stopping or (world.size == 1 and stop.requested is not None)
            is_last = is_stopping or recipe.is_complete(progress)
            watching.between_steps(state, is_last)
            if is_stopping:
                raise Stopped(stop.requested or signal.SIGTERM, f"stopped at iteration {progress.iteration}")
            if is_last:
                break

            # Batch: a pure function of the seed and the iteration.
            batch = recipe.batch(progress.iteration)

            # Forward and backward.
            world.reseed(recipe.seed, progress.iteration)
            mean = backward(model, batch, recipe, gradient)
            gradients = [p.grad for p in parameters if p.grad is not None]
            is_stopping, seconds = _all_reduce(mean, gradients, recipe, state, stop)

            # Clip. The norm takes a while, so it is computed only when needed.
            norm = None
            if settings.grad_clip is not None or recipe.logs(progress.iteration):
                norm = nn.utils.get_total_norm(gradients)
            if norm is not None and settings.grad_clip is not None:
                nn.utils.clip_grads_with_norm_(parameters, settings.grad_clip, norm)

            # Step, unless the loss or a gradient is NaN or Inf. The check stays on the device, so nothing waits for it.
            skip = has_nonfinite([mean, *gradients])
            rates = recipe.rates(progress, optimizer.peaks)
            optimizer.step(rates, skip)
            state.count_step(mean, batch.tokens, skip, rates, norm)
            if settings.budget is not None and seconds is not None:
                state.plan(seconds, settings.budget)
            watching.updated(state)
            optimizer.zero_grad()
            watching.stepped(state)
        state.stop_clock()
        watching.finished(state)
        state.use_average()


def _evaluate(state: TrainingState, recipe: Recipe, watching: Watcher, stop: Stop) -> None:
    """Estimate the losses and tell the watchers.

    A signal aborts the evaluation, unless several processes share it.
    """
    progress = state.progress

    def estimate(loss: BatchLoss) -> tuple[float, float]:
        def checked(model: nn.Module, batch: Batch) -> Tensor:
            if recipe.world.size == 1:
                stop.check()
            return loss(model, batch)

        return estimated_losses(state.model, recipe, progress.iteration, checked)

    with contextlib.suppress(Stopped):
        train_loss, val_loss = estimate(recipe.reported_loss)
        rates = recipe.rates(progress, state.optimizer.peaks)
        # Built without validation, so that NaN is allowed: NonFiniteGuard decides how to handle it.
        progress.evaluations.append(
            Evaluation.model_construct(
                iteration=progress.iteration,
                train=train_loss,
                val=val_loss,
                learning_rates=rates,
                tokens=progress.tokens,
                metrics=means(recipe.metrics, estimate),
            )
        )
    if state.is_evaluated:
        watching.evaluated(state)


def backward(model: nn.Module, batch: Batch, recipe: Recipe, gradient: Gradient) -> Tensor:
    """Accumulate the gradient of this process's rows of the batch, in `grad_accumulation` parts to save memory.

    Returns this rank's share of the batch's mean loss, a scalar. The sum over all ranks gives the loss and the gradient
    of the batch.
    """
    world = recipe.world
    own = batch.part(world.rank, world.size) if world.size > 1 else batch
    total = torch.zeros((), device=recipe.runtime.device)
    for part in own.split(recipe.settings.grad_accumulation):
        loss = gradient(model, part, 1.0 if part is batch else part.tokens / batch.tokens)
        if part.tokens:  # Fewer rows than parts leave some parts empty, with a mean of NaN.
            total += loss
    return total


def _all_reduce(
    mean: Tensor, gradients: list[Tensor], recipe: Recipe, state: TrainingState, stop: Stop
) -> tuple[bool, float | None]:
    """Sum the loss and gradients over all processes; return whether another one was asked to stop, and the time.

    The time is the mean of the processes' clocks, in seconds of training, so that all plan the same iterations; None if
    it was not read.
    """
    world = recipe.world
    if world.size == 1:
        return False, None if recipe.settings.seconds is None else state.seconds
    shared = mean.new_tensor([stop.requested is not None, state.seconds / world.size])
    world.all_reduce_sum(mean, shared, *gradients)
    if recipe.runtime.device.type != "cpu" and state.progress.iteration % _STOP_INTERVAL_ON_GPU:
        return False, None
    stops, seconds = shared.tolist()
    return stops > 0, seconds
