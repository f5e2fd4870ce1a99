"""One training run, from its start to its report, for the command line, searches and Python."""

import contextlib
import logging
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from gpt import registry
from gpt.base.console import command as called
from gpt.base.errors import DivergedError, UserError
from gpt.base.files import attempt
from gpt.base.installation import CONF
from gpt.base.losses import Saved
from gpt.base.runtime import deterministic_algorithms, select_device, size_of
from gpt.base.stopping import Stopped
from gpt.config.command import Command
from gpt.config.conf import choices_of, settings_of
from gpt.config.documented import changed
from gpt.config.schema import TrainConfig
from gpt.reports.run import closing_lines, curve_of_run
from gpt.runs.checkpoints import Checkpoints
from gpt.runs.folder import RunFolder
from gpt.runs.records import Summary
from gpt.runs.weights import load_weights
from gpt.session.job import Job
from gpt.session.plan import Plan
from gpt.session.start import planned
from gpt.session.summary import summarise
from gpt.training.averaging import MovingAverage, WeightAverage
from gpt.training.compilation import compiler_options
from gpt.training.evaluation import estimation_targets
from gpt.training.loop import train
from gpt.training.processes import ALONE, World
from gpt.training.progress import Evaluation
from gpt.training.state import TrainingState
from gpt.training.watchers import NonFiniteGuard, Watcher
from gpt.watching.loggers import RunWatcher
from gpt.watching.recorders import BestWeights, CheckpointWriter, RunWriter, Sampler, SnapshotWriter, StepLog
from gpt.watching.terminal import ConsoleLog, ProgressBar

_SAMPLE = 200  # characters of a sample during training

log = logging.getLogger("gpt")


@dataclass(frozen=True)
class Outcome:
    """The results of `run`."""

    summary: Summary | None  # None: it was interrupted, and the model so far is kept
    job: Job | None = None  # None: there was nothing left to train
    evaluations: Sequence[Evaluation] = ()
    folder: RunFolder | None = None  # if this process wrote one


def run(
    config: TrainConfig,
    command: Command,
    world: World = ALONE,
    *,
    more: Sequence[Watcher] = (),
    is_quiet: bool = False,
    keeps: bool = False,
) -> Outcome:
    """Train a run, and write the results to the run folder, if there is to be one.

    `more` are watchers of the calling program. `is_quiet` hides the progress bar. With `keeps`, a signal ends the run
    with the model so far and no summary, instead of Stopped.

    Raises RequestError for a request that cannot be trained, UserError for a damaged run or if debug=overfit did not
    over-fit, and Stopped after a signal.
    """
    with contextlib.ExitStack() as stack:
        plan = stack.enter_context(planned(config, command, world))
        if isinstance(plan, Summary):
            return Outcome(plan)
        job = _job(plan, world, stack)
        folder, started = None, time.perf_counter()
        state = job.state()
        settings = job.recipe.settings
        guard = NonFiniteGuard(state, settings.on_nonfinite, job.recipe.schedule, settings.max_iters)
        watchers: list[Watcher] = [guard, *_averages(job, state)]
        if command.writes and world.is_first:
            folder = stack.enter_context(plan.opened(job.config, job.vocabulary))
            _log_opening(job)
            checkpoints = _checkpoints(job, state, folder, guard)
            is_saved = partial(checkpoints.is_saved, state)
            stack.enter_context(explaining_how_to_resume(folder, is_saved, settings.grad_clip))
            watchers += [checkpoints, *_recorders(job, folder), *(logger(run=folder) for logger in job.loggers), *more]
        if world.is_first:
            watchers.append(ProgressBar(state, job.recipe, is_hidden=is_quiet))
        for watcher in watchers:
            stack.callback(watcher.close)

        try:
            train(state, job.recipe, watchers)
        except Stopped as stopped:
            if not keeps:
                raise
            log.warning(f"{stopped}: the model that was trained so far is kept")
            return Outcome(None, job, state.progress.evaluations, folder)
        exact = job.exact_loss(_use_result(state, job, folder))
        job = job.of_length(state.progress)
        summary = summarise(job, state, exact, time.perf_counter() - started, folder)
        if folder is not None:
            _report(folder, job, summary, watchers)
        _check_overfit(job, summary)
    return Outcome(summary, job, state.progress.evaluations, folder)


def _job(plan: Plan, world: World, stack: contextlib.ExitStack) -> Job:
    """The job of a plan, with PyTorch's settings for it until the stack is closed."""
    stack.enter_context(deterministic_algorithms(wanted=plan.config.deterministic))
    device = select_device(plan.config.device)
    if plan.config.compile:
        stack.enter_context(compiler_options(device))
    job = Job.of(plan, world)
    stack.enter_context(job.recipe.runtime.settings())
    if world.is_first:
        job = replace(job, changed=changed(job.config, plan.command))
    return job


def _use_result(state: TrainingState, job: Job, folder: RunFolder | None) -> Saved:
    """Load the weights that are the run's result on all ranks, and return their name: the average, if there is one.

    If patience ended the training, the best weights are the result.
    """
    if state.average:
        return "averaged"
    is_early = state.progress.iteration < job.recipe.last(state.progress)
    if not (is_early and job.recipe.has_stalled(state.progress)):
        return "last"
    if folder is not None:
        load_weights(folder, job.model, "best")
    state.broadcast(job.recipe.world)
    return "best" if job.recipe.world.size > 1 or folder is not None else "last"


def _averages(job: Job, state: TrainingState) -> list[Watcher]:
    """The average of the weights, if there is to be one."""
    settings = job.recipe.settings
    if settings.ema:
        return [MovingAverage(state, settings.ema)]
    return [WeightAverage(round((1 - settings.average_last) * settings.max_iters))] if settings.average_last else []


def _checkpoints(job: Job, state: TrainingState, folder: RunFolder, guard: NonFiniteGuard) -> CheckpointWriter:
    saving = job.config.checkpoint
    return CheckpointWriter(
        state,
        Checkpoints(folder, saving.keep),
        guard,
        interval=saving.interval,
        min_seconds=saving.min_seconds,
        is_saved=job.plan.parent is None,
    )


def _recorders(job: Job, folder: RunFolder) -> list[Watcher]:
    """The other watchers of every run with a folder."""
    settings = job.recipe.settings
    targets = estimation_targets(job.model, job.recipe, "train", 0).count
    return [
        BestWeights(folder),
        Sampler(job.recipe, lambda: job.task.sample(job.model, job.corpus, job.config.seed)[:_SAMPLE]),
        StepLog(settings.log_interval),
        RunWriter(folder),
        SnapshotWriter(folder, job.config.checkpoint.snapshots, settings.max_iters),
        ConsoleLog(job.recipe, lambda: job.task.examples(job.model, job.corpus), targets, _shorter(job)),
    ]


def _shorter(job: Job) -> str:
    """The command for a smaller training of this stage on a CPU; "" if there is no such experiment."""
    name = f"{job.config.stage}_cpu"
    is_there = job.recipe.runtime.device.type == "cpu" and name in choices_of("experiment")
    return f"experiment={name}" if is_there and not {"experiment", "init"} & {*job.plan.command.given} else ""


def _log_opening(job: Job) -> None:
    """Log what is trained, on what, and what is unusual about it."""
    command, config, recipe = job.plan.command, job.config, job.recipe
    others = settings_of(config.stage, [CONF, *map(Path, command.folders)])
    also = f"; model={config.stage} also sets {' '.join(others)}" if others else ""
    processes = "" if recipe.world.size == 1 else f", {recipe.world.size} processes"
    size = f"{size_of(job.model):,} parameters"
    log.info(job.task.described(job.corpus))
    log.info(f"{config.stage}: {config.adds}; {size}, seed {config.seed}, {recipe.runtime}{processes}{also}")


def _report(folder: RunFolder, job: Job, summary: Summary, watchers: Sequence[Watcher]) -> None:
    """Write a sample, the loss curve and the summary, and tell the watchers."""
    if job.recipe.settings.budget is not None:
        folder.write_config(job.config)  # A budget of seconds now has a number of iterations.
    attempt("the sample", lambda: folder.write("sample.txt", job.task.sample(job.model, job.corpus, summary.seed)))
    # The user's settings for Matplotlib can raise any error.
    attempt("the loss curve", lambda: folder.write("loss.png", curve_of_run(folder, summary).content), (Exception,))
    folder.write_summary(summary)
    lines = closing_lines(summary, folder)
    for watcher in watchers:
        if isinstance(watcher, RunWatcher):
            watcher.reported(summary, lines)


def _check_overfit(job: Job, summary: Summary) -> None:
    overfit, loss = job.config.overfit, summary.estimated.train.nats
    if overfit is not None and loss >= overfit:
        raise UserError(
            f"the loss on one batch is {loss:.4f} after {summary.iterations} iterations, which is not below {overfit:g}"
        )


@contextlib.contextmanager
def explaining_how_to_resume(
    run: RunFolder, is_saved: Callable[[], bool], grad_clip: float | None = None
) -> Iterator[None]:
    """Append resume instructions to an error; `is_saved` tells whether the last step was saved.

    The advice about clipping depends on `grad_clip`, the run's threshold.
    """
    try:
        yield
    except Stopped as stopped:
        config = run.config()
        code = registry.words(config.model, config.optimizer, config.schedule)
        unsaved = "" if is_saved() else "; the last iterations were not saved"
        again = f"{called('train')} resume={shlex.quote(str(run.path))}{code}"
        raise Stopped(stopped.number, f"{stopped}{unsaved}; resume with: {again}") from None
    except DivergedError as error:
        has_best = run.weights("best").exists()
        again = f"start a new run with init={shlex.quote(str(run.path))}," if has_best else "try again"
        clipping = "training.grad_clip=1.0" if grad_clip is None or grad_clip > 1 else "training.grad_clip"
        raise DivergedError(f"{error}: {again} with a smaller training.learning_rate or {clipping}") from None
