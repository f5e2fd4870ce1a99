"""The recorder: whatever a run folder is needed for. Samples, metrics, weights, snapshots and checkpoints."""

import math
import time
from collections.abc import Callable
from functools import partial

from gpt.base.errors import UserError
from gpt.base.files import try_write
from gpt.runs.checkpoints import Checkpoints
from gpt.runs.folder import RunFolder
from gpt.runs.weights import save_weights, snapshot_iterations
from gpt.training.length import counted_evaluations
from gpt.training.state import Clock, Step
from gpt.training.trainer import Trainer
from gpt.training.watchers import NonFiniteGuard, Watcher

_SAMPLE = 200  # characters of a sample during training
_MOST_STEPS = 10_000  # per run, so that the size of the run folder's files is bounded
_MAX_CHECKPOINT_SHARE = 0.02  # the largest fraction of the run's time that saving may take


class Recorder(Watcher):
    """Records a run in its folder, so that it can be resumed, sampled from and compared.

    Checkpoints are at least `checkpoint.min_seconds` apart, and further apart if saving would take more than 2 % of the
    time; `min_seconds=0` turns both limits off. The guard checks for NaN and Inf before each save. The initial state is
    saved, too, unless it `starts_saved`: a fork's first weights are stored nowhere else.
    """

    def __init__(self, trainer: Trainer, run: RunFolder, guard: NonFiniteGuard, *, starts_saved: bool = True) -> None:
        saving = trainer.config.checkpoint
        self._run, self._guard, self._checkpoints = run, guard, Checkpoints(run, saving.keep)
        self._snapshots = snapshot_iterations(saving.snapshots, trainer.settings.max_iters)
        self._saved_iteration = trainer.state.iteration if starts_saved else None
        self._saved_at, self._took = time.perf_counter(), 0.0
        self._has_unwritten_metrics = False

    def evaluated(self, trainer: Trainer) -> None:
        """Record the evaluation: the best weights so far, the clock, a sample if one is due, the metrics."""
        self._save_if_best(trainer)
        self._record_clock(trainer)
        self._sample(trainer)
        self._has_unwritten_metrics = not self._try("the metrics", lambda: self._run.write_metrics(trainer.state))
        if trainer.state.iteration == 0 and self._snapshots:  # before the first update
            self._save_snapshot(trainer)

    def stepped(self, trainer: Trainer) -> None:
        """Record the update, if it is one to log, which waits for the device; save a snapshot, if one is due."""
        self._record_step(trainer)
        self._has_unwritten_metrics = True
        if trainer.state.iteration in self._snapshots:
            with trainer.clock_stopped():
                self._save_snapshot(trainer)

    def between_steps(self, trainer: Trainer, is_last: bool) -> None:
        """Save a checkpoint, if one is due; write the metrics before the run stops."""
        is_wanted = is_last or self._saved_iteration is None or self._is_due(trainer)
        if is_wanted and not self.is_saved(trainer):
            with trainer.clock_stopped():
                started = time.perf_counter()
                self._guard.check(trainer)
                if self._try("a checkpoint", lambda: self._checkpoints.save(trainer.state, trainer.tensors())):
                    self._saved_iteration = trainer.state.iteration
                self._saved_at = time.perf_counter()
                self._took = self._saved_at - started
        if is_last and self._has_unwritten_metrics:
            self._try("the metrics", lambda: self._run.write_metrics(trainer.state))

    def finished(self, trainer: Trainer) -> None:
        """Save the last weights, the metrics and the average; remove an average of a previous end.

        A run that ends at the checkpoint it resumed from has no later evaluation to save the metrics.
        """
        state = trainer.state
        save_weights(self._run, trainer.model.state_dict(), "last", state.iteration)
        if trainer.average:
            save_weights(self._run, trainer.average, "averaged", state.averaged[-1])
        else:
            self._run.weights("averaged").unlink(missing_ok=True)
        self._try("the metrics", lambda: self._run.write_metrics(state))
        if self._snapshots and state.iteration not in self._snapshots:  # it has ended early
            self._save_snapshot(trainer)

    def _try(self, what: str, write: Callable[[], None]) -> bool:
        """Whether `write` succeeds; a full disk costs a warning. Raises UserError if the folder has been moved away."""
        if not self._run.path.is_dir():
            raise UserError(f"{self._run.path} is gone, and the run has ended: resume it where its folder is now")
        return try_write(what, write)

    def is_saved(self, trainer: Trainer) -> bool:
        """Whether the current iteration has a checkpoint."""
        return self._saved_iteration == trainer.state.iteration

    def _is_due(self, trainer: Trainer) -> bool:
        saving = trainer.config.checkpoint
        if trainer.state.iteration % saving.interval:
            return False
        pause = saving.min_seconds and max(saving.min_seconds, self._took / _MAX_CHECKPOINT_SHARE)
        return time.perf_counter() - self._saved_at >= pause

    def _save_if_best(self, trainer: Trainer) -> None:
        """Save the weights of the lowest estimated validation loss."""
        new, best = trainer.state.evaluations[-1], trainer.state.best
        save = partial(save_weights, self._run, trainer.model.state_dict(), "best", new.iteration)
        if (best is None or new.val < best.val) and self._try("the best weights", save):
            trainer.state.best_iteration = new.iteration

    def _save_snapshot(self, trainer: Trainer) -> None:
        iteration = trainer.state.iteration
        save = partial(save_weights, self._run, trainer.model.state_dict(), iteration, iteration)
        self._try(f"the snapshot of iteration {iteration}", save)

    def _sample(self, trainer: Trainer) -> None:
        """Add a sample to every `sample_interval`-th evaluation after the first."""
        interval, later = trainer.settings.sample_interval, len(counted_evaluations(trainer)) - 1
        if interval is None or later == 0 or later % interval:
            return
        evaluations, was_training = trainer.state.evaluations, trainer.model.training
        sample = trainer.task.sample(trainer.model, trainer.corpus, trainer.config.seed)[:_SAMPLE]
        evaluations[-1] = evaluations[-1].model_copy(update={"sample": sample})
        trainer.model.train(was_training)

    def _record_step(self, trainer: Trainer) -> None:
        """Add every `log_interval`-th update to the state, with the clock.

        At 10,000 of them, every second one is dropped and the interval doubles.
        """
        state, interval, norm = trainer.state, trainer.settings.log_interval, trainer.gradient_norm
        if interval is None or norm is None or state.iteration % (interval * state.step_stride):
            return
        loss, gradient_norm = (x if math.isfinite(x) else None for x in (trainer.last_batch.item(), norm.item()))
        step = Step(
            iteration=state.iteration,
            loss=loss,
            gradient_norm=gradient_norm,
            learning_rates=trainer.learning_rates,
            tokens=state.tokens,
        )
        state.steps.append(step)
        self._record_clock(trainer)
        if len(state.steps) == _MOST_STEPS:
            state.step_stride *= 2
            evaluated = {evaluation.iteration for evaluation in state.evaluations}
            dropped = {step.iteration for step in state.steps[::2]} - evaluated
            state.steps = state.steps[1::2]
            state.clock = [row for row in state.clock if row.iteration not in dropped]

    def _record_clock(self, trainer: Trainer) -> None:
        """Add the clock of the current iteration, unless it is there."""
        state = trainer.state
        if [row.iteration for row in state.clock[-1:]] != [state.iteration]:
            speed = trainer.tokens_per_second
            state.clock.append(Clock(iteration=state.iteration, seconds=trainer.seconds, tokens_per_second=speed))
