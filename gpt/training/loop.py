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

_STOP_INTERVAL_ON_GPU = 16  # iterations; reading whether another process was told to stop waits for the GPU


def train(
    state: TrainingState,
    model: nn.Module,
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
    loss: Loss = batch_loss,
    reported_loss: Loss = batch_loss,
    runtime: Runtime,
    world: World = ALONE,
    stop: Stop | None = None,
) -> None:
    """Train `state.model` in place, from the current iteration to `max_iters`.

    `model` computes the logits: `state.model` itself, or its data-parallel wrapper.

    Raises Stopped, between two steps, after a signal.
    """
    progress, optimizer, stop = state.progress, state.optimizer, stop or Stop()
    parameters = list(optimizer.parameters.values())
    is_due = _evaluation_schedule(data, eval_interval, seed, max_iters, batch_size)
    # Several processes have to complete an evaluation together, so a signal cannot abort it.
    interruptible = stop.at_once if world.size == 1 else contextlib.nullcontext
    is_stopping = False
    model.train()
    state.start_clock()
    with stop.deferred():
        while True:
            # Evaluate, if it is time. A signal aborts the evaluation.
            if is_due(progress.iteration) and not state.is_evaluated:
                with state.clock_stopped():
                    with contextlib.suppress(Stopped), interruptible():
                        losses = estimated_losses(
                            state.model, data, seed=seed, iteration=progress.iteration, eval_iters=eval_iters,
                            batch_size=batch_size, runtime=runtime, loss=reported_loss, world=world,
                        )  # fmt: skip
                        progress.evaluations.append(_evaluation(state, losses, schedule, max_iters))
                    if state.is_evaluated:
                        for watcher in watchers:
                            watcher.evaluated(state)

            # Between two steps: checkpoint, stop.
            is_stopping = is_stopping or (world.size == 1 and stop.requested is not None)
            is_last = is_stopping or progress.iteration == max_iters
            for watcher in watchers:
                watcher.between_steps(state, is_last)
            if is_stopping:
                raise Stopped(stop.requested or signal.SIGTERM, f"stopped at iteration {progress.iteration}")
            if is_last:
                break

            # Batch: a pure function of the seed and the iteration.
            batch = data.training_batch(seed, progress.iteration, batch_size)

            # Forward and backward.
            mean = _backward(loss, model, batch, grad_accumulation, runtime, world)
            if world.size > 1:
                mean, stops = world.all_reduce_sum(torch.stack([mean, mean.new_tensor(stop.requested is not None)]))
                mean = mean / world.size
                if runtime.device.type == "cpu" or progress.iteration % _STOP_INTERVAL_ON_GPU == 0:
                    is_stopping = stops.item() > 0

            # Clip.
            if grad_clip is not None:
                nn.utils.clip_grad_norm_(parameters, grad_clip)

            # Step, unless the loss or a gradient is NaN or Inf. The device decides that, so nothing waits for it.
            skip = has_nonfinite([mean, *(p.grad for p in parameters if p.grad is not None)])
            rates = {group: schedule(progress.iteration, max_iters, peak) for group, peak in optimizer.peaks.items()}
            optimizer.step(rates, skip)
            optimizer.zero_grad()

            state.count_step(mean, batch.tokens, skip)
            for watcher in watchers:
                watcher.stepped(state)
        state.stop_clock()
        for watcher in watchers:
            watcher.finished(state)


def _backward(
    loss: Loss, model: nn.Module, batch: Batch, grad_accumulation: int, runtime: Runtime, world: World
) -> Tensor:
    """Accumulate the gradient of this process's rows of the batch, in `grad_accumulation` parts to save memory.

    Returns this rank's loss, a scalar, scaled so that the mean over the ranks is the mean loss of the batch.
    """
    own = batch.part(world.rank, world.size) if world.size > 1 else batch
    total = torch.zeros((), device=runtime.device)
    for part in own.split(grad_accumulation):
        share = part.tokens * world.size / batch.tokens  # DDP takes the mean of the processes' gradients
        with runtime.autocast():
            scaled = loss(model, part) * share
        scaled.backward()
        if part.tokens:  # the mean over no rows, of a batch with fewer rows than parts, is NaN
            total += scaled.detach()
    return total


def _evaluation_schedule(
    data: Data, interval: int | Literal["epoch"], seed: int, max_iters: int, batch_size: int
) -> Callable[[int], bool]:
    """Whether an evaluation is due at an iteration: the first, every `interval`-th and the last."""

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
    # Not validated: the guard decides what a loss of NaN means.
    return Evaluation.model_construct(iteration=iteration, train=train_loss, val=val_loss, learning_rates=rates)
