"""Recorders: the watchers of a training run, in order, and the files written at its end."""

import contextlib
import logging
import shlex
import time
from collections.abc import Callable, Iterator, Sequence

from gpt.base.console import command
from gpt.base.errors import DivergedError, UserError
from gpt.base.files import attempt, write_atomically
from gpt.base.runtime import size_of
from gpt.base.stopping import Stop, Stopped
from gpt.cli.stages import settings_of_chosen
from gpt.reports.run import closing_lines, plot_run
from gpt.runs.checkpoints import Checkpoints
from gpt.runs.folder import RunFolder
from gpt.runs.records import Summary
from gpt.session.job import Job
from gpt.session.plan import NewRun, Plan, Resumption
from gpt.session.summary import summarise
from gpt.training.averaging import MovingAverage, WeightAverage
from gpt.training.progress import ExactLoss
from gpt.training.state import TrainingState
from gpt.training.watchers import NonFiniteGuard, Watcher
from gpt.watching.console import ConsoleLog, ProgressBar
from gpt.watching.loggers import chosen_loggers
from gpt.watching.recording import CheckpointWriter, Reopening, RunWriter, SnapshotWriter, StepLog
from gpt.watching.run_watcher import RunWatcher
from gpt.watching.sampling import Sampler

_SAMPLE = 200  # characters of a sample during training

log = logging.getLogger("gpt")


class Recorder:
    """Records nothing, on ranks other than 0.

    Watchers that change the weights or end the training exist on every rank.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.watchers: list[Watcher] = []
        self.summary: Summary | None = None  # once there is a report
        self._started = time.perf_counter()

    @contextlib.contextmanager
    def opened(self, job: Job, state: TrainingState) -> Iterator[None]:
        """Open the watchers for the duration of the training."""
        settings = self._plan.config.training
        self._started = time.perf_counter()
        guard = NonFiniteGuard(state, settings.on_nonfinite, job.recipe.schedule, settings.max_iters)
        with contextlib.ExitStack() as stack:
            self.watchers = [guard, *self._observers(job, state, guard, stack), *self._averages(job, state)]
            for watcher in self.watchers:
                stack.callback(watcher.close)
            yield

    def report(self, job: Job, state: TrainingState, exact: ExactLoss, stop: Stop) -> None:
        """Write the results, including `exact`, the exact validation loss."""

    def _summary(self, job: Job, state: TrainingState, exact: ExactLoss, run: RunFolder | None = None) -> Summary:
        return summarise(self._plan, job, state, exact, time.perf_counter() - self._started, run)

    def _observers(
        self, job: Job, state: TrainingState, guard: NonFiniteGuard, stack: contextlib.ExitStack
    ) -> list[Watcher]:
        """The watchers that record, in order; `stack` closes what they open."""
        del job, state, guard, stack
        return []

    def _averages(self, job: Job, state: TrainingState) -> list[Watcher]:
        """The average of the weights, last, because it overwrites those of the model at the end."""
        settings = self._plan.config.training
        if settings.ema:
            return [MovingAverage(state, settings.ema)]
        if not settings.average_last:
            state.reset_average()
            return []
        start = round((1 - settings.average_last) * settings.max_iters, 6)  # 1500, not 1500.0000000000002
        return [WeightAverage(state, job.recipe, start)]


class Shown(Recorder):
    """Records nothing, and shows a progress bar: for runs from Python without a folder."""

    def _observers(
        self, job: Job, state: TrainingState, guard: NonFiniteGuard, stack: contextlib.ExitStack
    ) -> list[Watcher]:
        del job, guard, stack
        return [ProgressBar(state, self._plan.config.training.max_iters)]

    def report(self, job: Job, state: TrainingState, exact: ExactLoss, stop: Stop) -> None:  # noqa: ARG002
        """Keep the summary."""
        self.summary = self._summary(job, state, exact)


class FolderRecorder(Recorder):
    """Records a run in its folder. Raises RequestError for a logger that is not valid or not installed."""

    _plan: NewRun | Resumption
    run: RunFolder

    def __init__(self, plan: NewRun | Resumption, more: Sequence[Watcher] = ()) -> None:
        super().__init__(plan)
        self._loggers, self._more = chosen_loggers(plan.config.logger), more

    def _observers(
        self, job: Job, state: TrainingState, guard: NonFiniteGuard, stack: contextlib.ExitStack
    ) -> list[Watcher]:
        plan, config, recipe = self._plan, self._plan.config, job.recipe
        self.run, reopen = stack.enter_context(self._plan.opened(job.task.vocabulary(job.corpus)))
        for line in _opening_lines(self._plan, job):
            log.info(line)
        checkpoints = CheckpointWriter(
            state, Checkpoints(self.run, config.checkpoint.keep), guard,
            interval=config.checkpoint.interval, min_seconds=config.checkpoint.min_seconds,
            is_saved=plan.fork is None,
        )  # fmt: skip
        clip = config.training.grad_clip
        stack.enter_context(explaining_how_to_resume(self.run, lambda: checkpoints.is_saved(state), clip))
        return [
            Reopening(reopen),
            Sampler(
                config.training.sample_interval, lambda: job.task.sample(job.model, job.corpus, config.seed)[:_SAMPLE]
            ),
            ConsoleLog(config.training.max_iters, recipe.data.epoch, lambda: job.task.examples(job.model, job.corpus)),
            StepLog(config.training.log_interval),
            RunWriter(self.run),
            SnapshotWriter(self.run, config.checkpoint.snapshots, config.training.max_iters),
            checkpoints,
            *(logger(run=self.run) for logger in self._loggers),
            *self._more,
            ProgressBar(state, config.training.max_iters),
        ]

    def report(self, job: Job, state: TrainingState, exact: ExactLoss, stop: Stop) -> None:
        """Write the summary, a sample and the loss curve, and tell the watchers.

        Raises UserError if debug=overfit did not over-fit, and Stopped after a signal that came too late to stop the
        run.
        """
        run, overfit = self.run, self._plan.config.overfit
        with stop.deferred():  # a signal must not interrupt an import or the writing of a file
            summary = self._summary(job, state, exact, run)
            sample, seed = run.path / "sample.txt", self._plan.config.seed
            attempt("the sample", lambda: write_atomically(sample, job.task.sample(job.model, job.corpus, seed)))
            # Matplotlib reads the user's settings, which can raise any error.
            attempt("the loss curve", lambda: plot_run(run, summary), (Exception,))
            run.write_summary(summary)
            lines = closing_lines(summary, run)
            for watcher in self.watchers:
                if isinstance(watcher, RunWatcher):
                    watcher.reported(summary, lines)
        if overfit is not None and summary.estimated.train >= overfit:
            raise UserError(
                f"the loss on one batch is {summary.estimated.train:.4f} after {summary.iterations} iterations, "
                f"which is not below {overfit:g}"
            )
        if stop.requested is not None:
            raise Stopped(stop.requested, f"stopped after {run.path} had finished")


def recorder_of(plan: Plan, more: Sequence[Watcher] = ()) -> Recorder:
    """The recorder for a plan; `more` are the watchers of a calling program such as search.py."""
    return FolderRecorder(plan, more) if isinstance(plan, NewRun | Resumption) else Recorder(plan)


def _opening_lines(plan: NewRun | Resumption, job: Job) -> list[str]:
    config, recipe = plan.config, job.recipe
    others = settings_of_chosen(config.stage, plan.request.options)
    also = f"; model={config.stage} also sets {' '.join(others)}" if others else ""
    processes = "" if recipe.world.size == 1 else f", {recipe.world.size} processes"
    size = f"{size_of(job.model):,} parameters"
    return [
        job.task.described(job.corpus),
        f"{config.stage}: {config.adds}; {size}, seed {config.seed}, {recipe.runtime}{processes}{also}",
        *([f"changed from the documented run: {', '.join(plan.changed)}"] if plan.changed else []),
    ]


@contextlib.contextmanager
def explaining_how_to_resume(
    run: RunFolder, is_saved: Callable[[], bool], grad_clip: float | None = None
) -> Iterator[None]:
    """Append resume instructions to an error; `is_saved` tells whether the last step was saved.

    `grad_clip` is the run's clipping threshold, on which the advice about clipping depends.
    """
    try:
        yield
    except Stopped as stopped:
        if run.is_finished():
            raise
        unsaved = "" if is_saved() else "; the last iterations were not saved"
        raise Stopped(
            stopped.number, f"{stopped}{unsaved}; resume with: {command('train')} resume={shlex.quote(str(run.path))}"
        ) from None
    except DivergedError as error:
        checkpoints = Checkpoints(run, keep=1)
        newest = checkpoints.names()[-1:]
        again = f"try resume={shlex.quote(str(checkpoints.folder / newest[0]))}" if newest else "try again"
        clipping = "training.grad_clip=1.0" if grad_clip is None or grad_clip > 1 else "training.grad_clip"
        raise DivergedError(f"{error}: {again} with a smaller training.learning_rate or {clipping}") from None
