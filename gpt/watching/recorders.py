"""Watchers that record a run: samples, metrics, weights, snapshots and checkpoints."""

import math
import time
from collections.abc import Callable
from functools import partial

from gpt.base.files import attempt
from gpt.runs.checkpoints import Checkpoints
from gpt.runs.folder import RunFolder
from gpt.runs.weights import moments, save_weights
from gpt.training.progress import Clock, Step
from gpt.training.recipe import Recipe
from gpt.training.state import TrainingState
from gpt.training.watchers import NonFiniteGuard, Phase, Watcher

_MOST_STEPS = 10_000  # per run, so that the size of the run folder's files is bounded
_MAX_CHECKPOINT_SHARE = 0.02  # the largest fraction of the run's time that saving may take


class BestWeights(Watcher):
    """Saves the weights of the lowest estimated validation loss."""

    phase = Phase.CHANGE

    def __init__(self, run: RunFolder) -> None:
        self._run = run

    def evaluated(self, state: TrainingState) -> None:
        """Save the weights, if they are the best so far."""
        progress = state.progress
        new, best = progress.evaluations[-1], progress.best
        save = partial(save_weights, self._run, state.model.state_dict(), "best", new.iteration)
        if (best is None or new.val < best.val) and attempt("the best weights", save):
            progress.best_iteration = new.iteration


class StepLog(Watcher):
    """Adds every `interval`-th update to the progress: loss, learning rates, gradient norm, and the clock.

    At 10,000 of them, every second one is dropped and the interval doubles.
    """

    phase = Phase.CHANGE

    def __init__(self, interval: int | None) -> None:
        self._interval = interval

    def stepped(self, state: TrainingState) -> None:
        """Record the update if due, which waits for the device."""
        progress, norm = state.progress, state.gradient_norm
        if self._interval is None or norm is None or progress.iteration % (self._interval * progress.step_stride):
            return
        loss, gradient_norm = (x if math.isfinite(x) else None for x in (state.last_batch.item(), norm.item()))
        step = Step(
            iteration=progress.iteration,
            loss=loss,
            gradient_norm=gradient_norm,
            learning_rates=state.learning_rates,
            tokens=progress.tokens,
        )
        progress.steps.append(step)
        self.evaluated(state)
        if len(progress.steps) == _MOST_STEPS:
            progress.step_stride *= 2
            evaluated = {evaluation.iteration for evaluation in progress.evaluations}
            dropped = {step.iteration for step in progress.steps[::2]} - evaluated
            progress.steps = progress.steps[1::2]
            progress.clock = [row for row in progress.clock if row.iteration not in dropped]

    def evaluated(self, state: TrainingState) -> None:
        """Add the clock of the current iteration."""
        progress = state.progress
        if [row.iteration for row in progress.clock[-1:]] != [progress.iteration]:
            speed = state.tokens_per_second
            progress.clock.append(Clock(iteration=progress.iteration, seconds=state.seconds, tokens_per_second=speed))


class Sampler(Watcher):
    """Adds a sample to every `interval`-th evaluation after the first, for the log, the trackers and the run folder."""

    phase = Phase.CHANGE

    def __init__(self, recipe: Recipe, sample: Callable[[], str]) -> None:
        self._recipe, self._interval, self._sample = recipe, recipe.settings.sample_interval, sample

    def evaluated(self, state: TrainingState) -> None:
        """Generate a sample, if one is due."""
        evaluations, later = state.progress.evaluations, len(self._recipe.counted(state.progress)) - 1
        if self._interval is None or later == 0 or later % self._interval:
            return
        was_training = state.model.training
        evaluations[-1] = evaluations[-1].model_copy(update={"sample": self._sample()})
        state.model.train(was_training)


class RunWriter(Watcher):
    """Saves the metrics in the run folder and, at the end, the last weights and their average, if there is one."""

    def __init__(self, run: RunFolder) -> None:
        self._run, self._is_stale = run, False

    def evaluated(self, state: TrainingState) -> None:
        """Save the metrics."""
        self._is_stale = not attempt("the metrics", lambda: self._run.write_metrics(state.progress))

    def stepped(self, state: TrainingState) -> None:  # noqa: ARG002
        """Mark the metrics as unsaved."""
        self._is_stale = True

    def between_steps(self, state: TrainingState, is_last: bool) -> None:
        """Save the metrics before the run stops."""
        if is_last and self._is_stale:
            self.evaluated(state)

    def finished(self, state: TrainingState) -> None:
        """Save the last weights, the metrics and the average; remove an average of a previous end.

        A run that ends at the checkpoint it resumed from has no later evaluation to save the metrics.
        """
        progress = state.progress
        save_weights(self._run, state.model.state_dict(), "last", progress.iteration)
        if state.average:
            save_weights(self._run, state.average, "averaged", progress.averaged[-1])
        else:
            self._run.weights("averaged").unlink(missing_ok=True)
        self.evaluated(state)


class SnapshotWriter(Watcher):
    """Saves the weights in the run folder at `count` moments of the training and before its first update.

    A run that ends early also saves its last weights, before averaging.
    """

    def __init__(self, run: RunFolder, count: int, max_iters: int) -> None:
        self._run, self._moments = run, moments(count, max_iters)

    def evaluated(self, state: TrainingState) -> None:
        """Save the initial weights, which are evaluated before the first update."""
        if state.progress.iteration == 0 and self._moments:
            self._save(state)

    def stepped(self, state: TrainingState) -> None:
        """Save the weights, if due."""
        if state.progress.iteration in self._moments:
            with state.clock_stopped():
                self._save(state)

    def finished(self, state: TrainingState) -> None:
        """Save the last weights, unless they are saved already."""
        if self._moments and state.progress.iteration not in self._moments:
            self._save(state)

    def _save(self, state: TrainingState) -> None:
        iteration = state.progress.iteration
        save = partial(save_weights, self._run, state.model.state_dict(), iteration, iteration)
        attempt(f"the snapshot of iteration {iteration}", save)


class CheckpointWriter(Watcher):
    """Saves a checkpoint every `interval` iterations and at the end.

    Checkpoints are at least `min_seconds` apart, and further apart if saving would take more than 2 % of the time;
    `min_seconds=0` turns both limits off. The guard checks for NaN and Inf before each save. Unless `is_saved`, the
    initial state is saved too: a fork's first weights are stored nowhere else.
    """

    def __init__(
        self,
        state: TrainingState,
        checkpoints: Checkpoints,
        guard: NonFiniteGuard,
        *,
        interval: int,
        min_seconds: float,
        is_saved: bool = True,
    ) -> None:
        self._checkpoints, self._guard, self._interval, self._min_seconds = checkpoints, guard, interval, min_seconds
        self._iteration = state.progress.iteration if is_saved else None
        self._saved_at, self._took = time.perf_counter(), 0.0

    def between_steps(self, state: TrainingState, is_last: bool) -> None:
        """Save a checkpoint, if due."""
        iteration = state.progress.iteration
        if self.is_saved(state) or not (is_last or self._iteration is None or self._is_due(iteration)):
            return
        with state.clock_stopped():
            started = time.perf_counter()
            self._guard.check(state)
            if attempt("a checkpoint", lambda: self._checkpoints.save(state.progress, state.tensors())):
                self._iteration = iteration
            self._saved_at = time.perf_counter()
            self._took = self._saved_at - started

    def is_saved(self, state: TrainingState) -> bool:
        """Whether the current iteration has been saved."""
        return self._iteration == state.progress.iteration

    def _is_due(self, iteration: int) -> bool:
        if iteration % self._interval:
            return False
        pause = self._min_seconds and max(self._min_seconds, self._took / _MAX_CHECKPOINT_SHARE)
        return time.perf_counter() - self._saved_at >= pause
