"""The training loop, the same for every stage."""

import contextlib
import signal
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from gpt.data.batch import Batch, Data
from gpt.runs.records import Evaluation
from gpt.runtime import Runtime
from gpt.stopping import Stop, Stopped
from gpt.training.evaluation import Loss, batch_loss, estimated_losses
from gpt.training.fused import has_nonfinite
from gpt.training.processes import ALONE, World
from gpt.training.schedules import Schedule
from gpt.training.state import TrainingState
from gpt.training.watchers import Watcher

_STOP_INTERVAL_ON_GPU = 16  # iterations between reads of the other processes' stop flag: each waits for the GPU


def train(
    state: TrainingState,
    data: Data,
    schedule: Schedule,
    watchers: Sequence[Watcher] = (),
    *,
    seed: int,
    max_iters: int,
    batch_size: int,
    eval_interval: int | Literal["epoch"],
    eval_iters: int,
    grad_accumulation: int = 1,
    grad_clip: float | None = None,
    log_interval: int | None = None,
    stop_below: float | None = None,
    loss: Loss = batch_loss,
    reported_loss: Loss = batch_loss,
    runtime: Runtime,
    world: World = ALONE,
    stop: Stop | None = None,
) -> None:
    """Train `state.model` in place, from the current iteration to `max_iters`.

    It also ends once the estimated training loss is below `stop_below`.

    Raises Stopped, between two steps, after a signal.
    """
    model, optimizer, progress, stop = state.model, state.optimizer, state.progress, stop or Stop()
    parameters = list(optimizer.parameters.values())
    is_due = _evaluation_due(data, eval_interval, seed, max_iters, batch_size)
    is_stopping = False
    model.train()
    state.start_clock()
    with stop.deferred():
        while True:
            # Evaluate, if due. A signal aborts the evaluation, except one that several processes complete together.
            if is_due(progress.iteration) and not state.is_evaluated:
                with state.clock_stopped():
                    with contextlib.suppress(Stopped):
                        losses = estimated_losses(
                            model, data, seed=seed, iteration=progress.iteration, eval_iters=eval_iters,
                            batch_size=batch_size, runtime=runtime, world=world,
                            loss=reported_loss if world.size > 1 else _unless_stopped(reported_loss, stop),
                        )  # fmt: skip
                        progress.evaluations.append(_evaluation(state, losses, schedule, max_iters))
                    if state.is_evaluated:
                        for watcher in watchers:
                            watcher.evaluated(state)

            # Between two steps: checkpoint, stop.
            is_stopping = is_stopping or (world.size == 1 and stop.requested is not None)
            is_low = stop_below is not None and any(e.train < stop_below for e in progress.evaluations[-1:])
            is_last = is_stopping or is_low or progress.iteration == max_iters
            for watcher in watchers:
                watcher.between_steps(state, is_last)
            if is_stopping:
                raise Stopped(stop.requested or signal.SIGTERM, f"stopped at iteration {progress.iteration}")
            if is_last:
                break

            # Batch: a pure function of the seed and the iteration.
            batch = data.training_batch(seed, progress.iteration, batch_size)

            # Forward and backward.
            world.reseed(seed, progress.iteration)
            mean = _backward(loss, model, batch, grad_accumulation, runtime, world)
            gradients = [p.grad for p in parameters if p.grad is not None]
            if world.size > 1:
                stops = mean.new_tensor(stop.requested is not None)
                world.all_reduce_sum(mean, stops, *gradients)
                if runtime.device.type == "cpu" or progress.iteration % _STOP_INTERVAL_ON_GPU == 0:
                    is_stopping = stops.item() > 0

            # Clip. The norm takes a while, so it is computed only where it is needed.
            is_logged = log_interval is not None and (progress.iteration + 1) % log_interval == 0
            norm = nn.utils.get_total_norm(gradients) if is_logged or grad_clip is not None else None
            if norm is not None and grad_clip is not None:
                nn.utils.clip_grads_with_norm_(parameters, grad_clip, norm)

            # Step, unless the loss or a gradient is NaN or Inf. The check stays on the device, so nothing waits for it.
            skip = has_nonfinite([mean, *gradients])
            rates = {group: schedule(progress.iteration, max_iters, peak) for group, peak in optimizer.peaks.items()}
            optimizer.step(rates, skip)
            optimizer.zero_grad()

            state.count_step(mean, batch.tokens, skip, rates, norm)
            for watcher in watchers:
                watcher.stepped(state)
        state.stop_clock()
        for watcher in watchers:
            watcher.finished(state)


def _backward(
    loss: Loss, model: nn.Module, batch: Batch, grad_accumulation: int, runtime: Runtime, world: World
) -> Tensor:
    """Accumulate the gradient of this process's rows of the batch, in `grad_accumulation` parts to save memory.

    Returns this rank's contribution to the batch's mean loss, a scalar. Summed over all ranks, losses and gradients are
    those of the batch.
    """
    own = batch.part(world.rank, world.size) if world.size > 1 else batch
    total = torch.zeros((), device=runtime.device)
    for part in own.split(grad_accumulation):
        share = part.tokens / batch.tokens
        with runtime.autocast():
            scaled = loss(model, part) * share
        scaled.backward()
        if part.tokens:  # a batch with fewer rows than parts leaves some empty, whose mean is NaN
            total += scaled.detach()
    return total


def _unless_stopped(loss: Loss, stop: Stop) -> Loss:
    """The loss of a batch, which is not computed any more once a signal was received: it raises Stopped."""

    def checked(model: nn.Module, batch: Batch) -> Tensor:
        stop.check()
        return loss(model, batch)

    return checked


def _evaluation_due(
    data: Data, interval: int | Literal["epoch"], seed: int, max_iters: int, batch_size: int
) -> Callable[[int], bool]:
    """A predicate for the iterations to evaluate at: 0, the last, and every `interval`-th or each epoch's first."""

    def is_due(iteration: int) -> bool:
        if iteration in (0, max_iters):
            return True
        if interval == "epoch":
            return data.epoch(seed, iteration, batch_size) > data.epoch(seed, iteration - 1, batch_size)
        return iteration % interval == 0

    return is_due


def _evaluation(state: TrainingState, losses: tuple[float, float], schedule: Schedule, max_iters: int) -> Evaluation:
    iteration, (train_loss, val_loss) = state.progress.iteration, losses
    peaks = state.optimizer.peaks.items()
    rates = {group: schedule(min(iteration, max_iters - 1), max_iters, peak) for group, peak in peaks}
    # Built without validation, so that NaN is allowed: NonFiniteGuard decides what to do about it.
    return Evaluation.model_construct(
        iteration=iteration, train=train_loss, val=val_loss, learning_rates=rates, tokens=state.progress.tokens
    )
