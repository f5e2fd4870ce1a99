"""Trains a stage of the ladder: python train.py model=v5. One run, from its start to its report."""

import contextlib
import json
import logging
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple, cast

import torch

from gpt import registry
from gpt.base.console import command as called
from gpt.base.console import reports_hidden
from gpt.base.errors import DivergedError, RequestError, UserError, printable
from gpt.base.files import try_write
from gpt.base.installation import CONF
from gpt.base.losses import Loss, Saved
from gpt.base.runtime import deterministic_algorithms, keep_freed_memory, select_device, size_of
from gpt.base.stopping import Stopped
from gpt.config.command import Command
from gpt.config.conf import choices_of, settings_of
from gpt.config.documented import changed
from gpt.config.schema import TrainConfig
from gpt.runs.folder import RunFolder
from gpt.runs.records import Summary
from gpt.runs.weights import load_weights
from gpt.session.build import build_trainer
from gpt.session.start import New, Start
from gpt.training.checks import check_causality, unsaved_buffers_named
from gpt.training.compilation import compiler_options
from gpt.training.evaluation import exact_loss
from gpt.training.length import has_stalled, set_length
from gpt.training.loop import train as train_loop
from gpt.training.processes import ALONE, World
from gpt.training.trainer import Trainer
from gpt.training.watchers import NonFiniteGuard, Watcher
from gpt.watching.console import ConsoleLog, ProgressBar
from gpt.watching.loggers import RunWatcher, chosen_loggers
from gpt.watching.recorder import Recorder

log = logging.getLogger("gpt")


class TrainResult(NamedTuple):
    """The results of `train`."""

    summary: Summary | None  # None: it was interrupted, and the trainer has the model so far
    trainer: Trainer | None = None  # None: there was nothing left to train
    folder: RunFolder | None = None  # if this process wrote one


def main(config: TrainConfig, command: Command, more_watchers: Sequence[Watcher] = ()) -> float:
    """Train a stage, or resume a run; write the run folder, and return `Loss.common` of the exact validation loss.

    `more_watchers` are the watchers of a calling program such as search.py.
    """
    is_quiet = config.quiet or config.as_json
    with reports_hidden() if is_quiet else nullcontext(), World.joined(config.device) as world:
        device = select_device(config.device)
        keep_freed_memory(device)
        result = train(config, command, device, world, more=more_watchers, is_quiet=is_quiet)
    assert result.summary is not None  # a stopped training raises Stopped
    if is_quiet and world.is_first:
        _print(result.summary, result.folder, as_json=config.as_json, indent=None if command.job else 2)
    return result.summary.exact.common


def train(
    config: TrainConfig,
    command: Command,
    device: torch.device,
    world: World = ALONE,
    *,
    more: Sequence[Watcher] = (),
    is_quiet: bool = False,
    keeps_model: bool = False,
) -> TrainResult:
    """Train a run, and write the results to the run folder, if there is to be one.

    `more` are watchers of the calling program. `is_quiet` hides the progress bar. With `keeps_model`, a signal ends the
    run with the model so far and no summary, instead of Stopped.

    Raises RequestError for a request that cannot be trained, UserError for a damaged run or if debug=overfit did not
    over-fit, and Stopped after a signal.
    """
    with contextlib.ExitStack() as stack:
        start = stack.enter_context(_start_of(config, command, world))
        if isinstance(start, Summary):
            return TrainResult(start)
        has_folder = command.writes and world.is_first
        loggers = chosen_loggers(start.config.logger) if has_folder else []
        stack.enter_context(deterministic_algorithms(wanted=start.config.deterministic))
        if start.config.compile:
            stack.enter_context(compiler_options(device))
        trainer = build_trainer(start, command, device, world)
        stack.enter_context(trainer.runtime.settings())
        changes = changed(trainer.config, command) if world.is_first else []  # now, because conf/ may be edited

        began, folder, guard = time.perf_counter(), None, NonFiniteGuard(trainer)
        watchers: list[Watcher] = [guard, *_averages(trainer)]
        if has_folder:
            folder = stack.enter_context(start.opened(trainer, command))
            _log_opening(trainer, command)
            recorder = Recorder(trainer, folder, guard, starts_saved=start.parent is None)
            stack.enter_context(explaining_how_to_resume(folder, trainer, recorder.is_saved))
            console = ConsoleLog(_shorter(trainer, command))
            watchers += [recorder, *(logger(run=folder) for logger in loggers), *more, console]
        if world.is_first:
            watchers.append(ProgressBar(trainer, is_hidden=is_quiet))
        for watcher in watchers:
            stack.callback(watcher.close)

        try:
            with unsaved_buffers_named(trainer.model):
                train_loop(trainer, watchers)
        except Stopped as stopped:
            if not keeps_model:
                raise
            log.warning(f"{stopped}: the model that was trained so far is kept")
            return TrainResult(None, trainer, folder)
        from gpt.session.summary import summarise  # needed at the end only

        weights = _load_result(trainer, folder)
        check_causality(trainer)  # The first weights need not have shown it.
        exact = exact_loss_of(trainer, weights)
        if trainer.state.planned is not None:  # a budget of seconds came to this number of iterations
            set_length(trainer, trainer.state.iteration)
            changes = changed(trainer.config, command) if world.is_first else []
        summary = summarise(trainer, exact, changes, time.perf_counter() - began, folder)
        if folder is not None:
            _report(folder, trainer, summary, watchers)
        _check_overfit(config, summary)
    return TrainResult(summary, trainer, folder)


@contextlib.contextmanager
def _start_of(config: TrainConfig, command: Command, world: World) -> Iterator[Start | Summary]:
    """How the requested run begins, the same on every rank; or the results of a run that has finished.

    A resumed run stays locked inside the context. Raises RequestError for a request that cannot be trained, UserError
    if a corpus is missing or a run is damaged.
    """
    if not world.is_first:
        follower: Start | Summary | None = world.broadcast(None)
        assert follower is not None
        yield follower
        return
    for key in ("runs", "hydra.run.dir"):
        if not command.writes and key in command.given:
            raise RequestError(f"{key}= is about run folders, but without folder= there is none: add folder=")
    with _earlier_run(config, command) if config.init or config.resume else nullcontext(New(config)) as start:
        # Rank 0 alone reads the run and the corpus, and sends the others its state.
        world.broadcast(start if isinstance(start, Summary) else New(start.config, start.vocabulary))
        yield start


@contextlib.contextmanager
def _earlier_run(config: TrainConfig, command: Command) -> Iterator[Start | Summary]:
    """How a run begins that is asked to fork or to continue an earlier one."""
    from gpt.session.forking import forked
    from gpt.session.resuming import resumed, run_to_resume

    new = None
    if config.resume in (None, "auto"):
        new = New(config) if config.init is None else forked(config, command)
    run = run_to_resume(config, command, new)
    with run.locked() if run else nullcontext():
        yield resumed(new.config if new else config, command, run, new) if run else cast(New, new)


def exact_loss_of(trainer: Trainer, weights: Saved) -> Loss:
    """The loss over every target of the validation split once, or over a sample of a long one.

    `weights`: the weights that the model has.
    """
    over = trainer.task.over("val", trainer.corpus, trainer.model)
    most, runtime, world = trainer.settings.exact_tokens, trainer.runtime, trainer.world
    loss = exact_loss(trainer.model, trainer.data, "val", most=most, runtime=runtime, world=world, over=over)
    return loss.model_copy(update={"weights": weights})


def _load_result(trainer: Trainer, folder: RunFolder | None) -> Saved:
    """Load the weights that are the run's result on all ranks, and return their name: the average, if there is one.

    If patience ended the training, the best weights are the result.
    """
    if trainer.average:
        return "averaged"
    if trainer.state.iteration >= trainer.last_iteration or not has_stalled(trainer):
        return "last"
    if folder is not None:
        load_weights(folder, trainer.model, "best")
    trainer.broadcast()
    return "best" if trainer.world.size > 1 or folder is not None else "last"


def _averages(trainer: Trainer) -> list[Watcher]:
    """The average of the weights, if there is to be one."""
    ema, share = trainer.settings.ema, trainer.settings.average_last
    if not ema and not share:
        return []
    from gpt.training.averaging import MovingAverage, WeightAverage

    return [MovingAverage(trainer, ema) if ema else WeightAverage(round((1 - share) * trainer.settings.max_iters))]


def _shorter(trainer: Trainer, command: Command) -> str:
    """The command for a smaller training of this stage on a CPU; "" if there is no such experiment."""
    name = f"{trainer.config.stage}_cpu"
    is_there = trainer.runtime.device.type == "cpu" and name in choices_of("experiment")
    return f"experiment={name}" if is_there and not {"experiment", "init"} & {*command.given} else ""


def _log_opening(trainer: Trainer, command: Command) -> None:
    """Log what is trained, on what, and what is unusual about it."""
    config, world = trainer.config, trainer.world
    others = settings_of(config.stage, [CONF, *map(Path, command.folders)])
    also = f"; model={config.stage} also sets {' '.join(others)}" if others else ""
    processes = "" if world.size == 1 else f", {world.size} processes"
    size = f"{size_of(trainer.model):,} parameters"
    log.info(trainer.task.described(trainer.corpus))
    log.info(f"{config.stage}: {config.adds}; {size}, seed {config.seed}, {trainer.runtime}{processes}{also}")


def _report(folder: RunFolder, trainer: Trainer, summary: Summary, watchers: Sequence[Watcher]) -> None:
    """Write a sample, the loss curve and the summary, and tell the watchers."""
    from gpt.reports.run import closing_lines, curve_of_run

    if trainer.settings.budget is not None:
        folder.write_config(trainer.config)  # A budget of seconds now has a number of iterations.
    task, model, corpus = trainer.task, trainer.model, trainer.corpus
    try_write("the sample", lambda: folder.write("sample.txt", task.sample(model, corpus, summary.seed)))
    # The user's settings for Matplotlib can raise any error.
    try_write("the loss curve", lambda: folder.write("loss.png", curve_of_run(folder, summary).content), (Exception,))
    folder.write_summary(summary)
    lines = closing_lines(summary, folder)
    for watcher in watchers:
        if isinstance(watcher, RunWatcher):
            watcher.reported(summary, lines)


def _print(summary: Summary, folder: RunFolder | None, *, as_json: bool, indent: int | None) -> None:
    """Print only the results, as JSON or as the last lines of the log."""
    from gpt.reports.run import closing_lines

    if as_json:
        named = {} if folder is None else {"folder": str(folder.path)}
        print(json.dumps(named | summary.model_dump(mode="json"), indent=indent))
    elif folder is not None:
        print(*map(printable, closing_lines(summary, folder)), sep="\n")


def _check_overfit(config: TrainConfig, summary: Summary) -> None:
    loss = summary.estimated.train.nats
    if config.overfit is not None and loss >= config.overfit:
        raise UserError(
            f"the loss on one batch is {loss:.4f} after {summary.iterations} iterations, which is not below "
            f"{config.overfit:g}"
        )


@contextlib.contextmanager
def explaining_how_to_resume(run: RunFolder, trainer: Trainer, is_saved: Callable[[Trainer], bool]) -> Iterator[None]:
    """Append resume instructions to an error; `is_saved` tells whether the last step was saved."""
    try:
        yield
    except Stopped as stopped:
        config = run.config()
        code = registry.words(config.model, config.optimizer, config.schedule)
        unsaved = "" if is_saved(trainer) else "; the last iterations were not saved"
        again = f"{called('train')} resume={shlex.quote(str(run.path))}{code}"
        raise Stopped(stopped.number, f"{stopped}{unsaved}; resume with: {again}") from None
    except DivergedError as error:
        has_best, clip = run.weights("best").exists(), trainer.settings.grad_clip
        again = f"start a new run with init={shlex.quote(str(run.path))}," if has_best else "try again"
        clipping = "training.grad_clip=1.0" if clip is None or clip > 1 else "training.grad_clip"
        raise DivergedError(f"{error}: {again} with a smaller training.learning_rate or {clipping}") from None
