"""The training loop, the same for every stage."""

import contextlib
import signal
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from gpt.base.stopping import Stop, Stopped, listening
from gpt.data.batch import Batch
from gpt.training.evaluation import estimated_losses
from gpt.training.gradients import all_reduce, backward, clip, gradient_of
from gpt.training.length import is_complete, is_evaluation_due, plan_last_iteration
from gpt.training.metrics import means
from gpt.training.objectives import BatchLoss
from gpt.training.optimizers import has_nonfinite
from gpt.training.state import Evaluation
from gpt.training.trainer import Trainer
from gpt.training.watchers import Watcher


def train(trainer: Trainer, watchers: Sequence[Watcher] = ()) -> None:
    """Train the model in place, from the current iteration to the last; then load the averaged weights, if any.

    The watchers are told in their order. Raises Stopped, between two steps, after a signal.
    """
    model, optimizer, state = trainer.model, trainer.optimizer, trainer.state
    settings, world = trainer.settings, trainer.world
    parameters, gradient = list(optimizer.parameters.values()), gradient_of(trainer)

    def tell(moment: Callable[..., None], *details: bool) -> None:
        for watcher in watchers:
            getattr(watcher, moment.__name__)(trainer, *details)

    is_stopping = False
    model.train()
    trainer.start_clock()
    with listening() as stop:
        while True:
            # Evaluate, if due.
            if is_evaluation_due(trainer):
                with trainer.clock_stopped():
                    _evaluate(trainer, stop)
                    if state.is_evaluated:
                        tell(Watcher.evaluated)

            # Between two steps: checkpoint, stop.
            is_stopping = is_stopping or (world.size == 1 and stop.requested is not None)
            is_last = is_stopping or is_complete(trainer)
            tell(Watcher.between_steps, is_last)
            if is_stopping:
                raise Stopped(stop.requested or signal.SIGTERM, f"stopped at iteration {state.iteration}")
            if is_last:
                break

            # Batch: a pure function of the seed and the iteration.
            batch = trainer.batch(state.iteration)

            # Forward and backward.
            world.reseed(trainer.config.seed, state.iteration)
            mean = backward(trainer, batch, gradient)
            gradients = [p.grad for p in parameters if p.grad is not None]
            is_stopping, seconds = all_reduce(trainer, mean, gradients, stop)

            # Clip. The norm takes a while, so it is computed only when needed.
            norm = clip(trainer, parameters, gradients)

            # Step, unless the loss or a gradient is NaN or Inf. The check stays on the device, so nothing waits for it.
            skip = has_nonfinite([mean, *gradients])
            rates = trainer.next_rates()
            optimizer.step(rates, skip)
            trainer.count_step(mean, batch.tokens, skip, rates, norm)
            if settings.budget is not None and seconds is not None:
                plan_last_iteration(trainer, seconds, settings.budget)
            tell(Watcher.updated)
            optimizer.zero_grad()
            tell(Watcher.stepped)
        trainer.stop_clock()
        tell(Watcher.finished)
        if trainer.average:
            model.load_state_dict(trainer.average)


def _evaluate(trainer: Trainer, stop: Stop) -> None:
    """Estimate the losses. A signal aborts the evaluation, unless several processes share it."""
    state = trainer.state

    def estimate(loss: BatchLoss) -> tuple[float, float]:
        def checked(model: nn.Module, batch: Batch) -> Tensor:
            if trainer.world.size == 1:
                stop.check()
            return loss(model, batch)

        return estimated_losses(trainer, checked)

    with contextlib.suppress(Stopped):
        train_loss, val_loss = estimate(trainer.reported_loss)
        # Built without validation, so that NaN is allowed: NonFiniteGuard decides how to handle it.
        state.evaluations.append(
            Evaluation.model_construct(
                iteration=state.iteration,
                train=train_loss,
                val=val_loss,
                learning_rates=trainer.next_rates(),
                tokens=state.tokens,
                metrics=means(trainer.metrics, estimate),
            )
        )
