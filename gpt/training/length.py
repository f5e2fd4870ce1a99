"""The length of a training: its last iteration, the evaluations on the way, and early ends."""

import itertools
import math
import time

from gpt.base.errors import RequestError
from gpt.base.runtime import random_numbers_kept
from gpt.training.gradients import backward, gradient_of
from gpt.training.state import Evaluation, State
from gpt.training.trainer import Trainer

_MEASURED_STEPS, _MEASURED_SECONDS = 3, 0.3  # at least


def decide_length(trainer: Trainer, so_far: State) -> None:
    """Put the final number of iterations into the configuration; `so_far` is the state of a resumed run.

    Raises RequestError for training.epochs= with data that has no epochs.
    """
    settings, world = trainer.settings, trainer.world
    if settings.budget is not None:  # an estimate from a few steps, which the loop updates
        left = settings.budget - so_far.seconds
        steps = 0 if left <= 0 else max(1, round(left / _seconds_of_step(trainer)))
        last = world.broadcast(so_far.iteration + steps)
    elif settings.epochs is not None:
        if (epoch := trainer.data.epoch_tokens) == math.inf:
            raise RequestError("training.epochs= is for data with epochs: give training.max_iters= instead")
        last = math.ceil(settings.epochs * epoch / trainer.batch(0).tokens)
    else:
        return
    set_length(trainer, last)


def set_length(trainer: Trainer, max_iters: int) -> None:
    """Put a number of iterations into the configuration."""
    settings = trainer.settings.model_copy(update={"max_iters": max_iters})
    trainer.config = trainer.config.model_copy(update={"training": settings})


def plan_last_iteration(trainer: Trainer, seconds: float, budget: float) -> None:
    """Plan the last iteration of a run that has trained for `seconds` of its `budget`."""
    iteration = trainer.state.iteration
    left = iteration * (budget - seconds) / seconds
    trainer.state.planned = iteration + max(0 if seconds >= budget else 1, round(left))


def is_evaluation_due(trainer: Trainer) -> bool:
    """Whether to evaluate before the next iteration.

    Evaluations come before the first iteration, at every `eval_interval`-th or each epoch's first, and at the end.
    """
    state, interval = trainer.state, trainer.settings.eval_interval
    if state.is_evaluated:
        return False
    if state.iteration == 0 or state.iteration >= trainer.last_iteration:
        return True
    if interval == "epoch":
        return _begins_epoch(trainer, state.tokens, state.evaluations[-1])
    return state.iteration % interval == 0


def is_complete(trainer: Trainer) -> bool:
    """Whether the last iteration is done, or the training ends early."""
    return trainer.state.iteration >= trainer.last_iteration or early_end(trainer) is not None


def early_end(trainer: Trainer) -> str | None:
    """Why the training ends before its last iteration, in words; None if it goes on.

    It ends only at an evaluation, because a run can be resumed between two evaluations.
    """
    overfit, patience = trainer.config.overfit, trainer.settings.patience
    if (overfit is None and patience is None) or not trainer.state.is_evaluated:
        return None
    if overfit is not None and any(e.train < overfit for e in counted_evaluations(trainer)[-1:]):
        return f"the training loss is below {overfit:g}"
    if has_stalled(trainer):
        return f"no lower validation loss in {patience} evaluations (training.patience)"
    return None


def has_stalled(trainer: Trainer) -> bool:
    """Whether the last `patience` evaluations had no lower validation loss than all before them."""
    patience = trainer.settings.patience
    if patience is None:
        return False
    losses = [evaluation.val for evaluation in counted_evaluations(trainer)]
    return len(losses) > patience and min(losses[-patience:]) >= min(losses[:-patience])


def counted_evaluations(trainer: Trainer) -> list[Evaluation]:
    """The evaluations so far that an uninterrupted run has too: only these decide about early ends.

    An extended run has also evaluated its former last iteration.
    """
    state, interval = trainer.state, trainer.settings.eval_interval
    if interval == "epoch":
        pairs = itertools.pairwise(state.evaluations)
        due = {0, *(new.iteration for old, new in pairs if _begins_epoch(trainer, new.tokens, old))}
    else:
        due = {*range(0, state.iteration + 1, interval)}
    if state.iteration >= trainer.last_iteration:
        due.add(state.iteration)
    return [evaluation for evaluation in state.evaluations if evaluation.iteration in due]


def _begins_epoch(trainer: Trainer, tokens: int, newest: Evaluation) -> bool:
    """Whether an epoch ended between an evaluation and this many tokens."""
    return tokens // trainer.data.epoch_tokens > newest.tokens // trainer.data.epoch_tokens


def _seconds_of_step(trainer: Trainer) -> float:
    """The time for the gradient of a batch, nearly all of a step's time; no weight changes."""
    gradient, batch = gradient_of(trainer), trainer.batch(0)
    with trainer.runtime.settings(), random_numbers_kept():  # keeps the later dropout masks
        steps, begun = -1, time.perf_counter()
        while steps < _MEASURED_STEPS or time.perf_counter() - begun < _MEASURED_SECONDS:
            if steps == 0:  # The first step, which prepares the others, does not count.
                begun = time.perf_counter()
            backward(trainer, batch, gradient).item()
            steps += 1
    seconds = (time.perf_counter() - begun) / steps
    trainer.model.zero_grad()
    return seconds
