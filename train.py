"""Train one stage of the ladder: python train.py model=v5. See python train.py --help."""

import contextlib
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gpt import cli
from gpt.config import DATA_PATHS, TrainConfig

if TYPE_CHECKING:
    from gpt.training.watchers import Watcher

log = logging.getLogger("gpt")


def main(config: TrainConfig, more_watchers: "Sequence[Watcher]" = ()) -> float:
    """Train a stage, or resume a run; write the run folder and return the exact validation loss.

    `more_watchers` are those of a program that calls this one, such as search.py.
    """
    # Imported here so that --help and tab completion do not pay for importing torch, which takes a second.
    from gpt import models, tasks
    from gpt.data.one_batch import OneBatch
    from gpt.data.text import ShortWindows
    from gpt.errors import UserError
    from gpt.files import attempt, write_atomically
    from gpt.runs.checkpoints import Checkpoints
    from gpt.runs.records import Segment
    from gpt.runs.report import closing_lines, plot_run, summarise
    from gpt.runs.resuming import explaining_how_to_resume, planned
    from gpt.runtime import seed_everything, select_device, select_runtime, size_of
    from gpt.stopping import Stop, Stopped
    from gpt.training.compilation import training_losses
    from gpt.training.evaluation import exact_loss
    from gpt.training.loggers import chosen_loggers
    from gpt.training.loop import train
    from gpt.training.optimizers import OPTIMIZER
    from gpt.training.processes import World
    from gpt.training.recording import CheckpointWriter, Reopening, RunWriter, StepLog
    from gpt.training.schedules import SCHEDULE, check_warmup
    from gpt.training.state import TrainingState, check_extension
    from gpt.training.watchers import ConsoleLog, NonFiniteGuard, ProgressBar, WeightAverage

    with Stop().listening() as stop, World.joined(config.device) as world, contextlib.ExitStack() as stack:
        if not world.is_first:
            log.setLevel(logging.ERROR)

        # Load. Rank 0 plans what to train and where; nothing in a run folder changes yet.
        plan = stack.enter_context(planned(config, cli.request(config))) if world.is_first else None
        finished, config, vocabulary = world.broadcast(
            (plan.finished, plan.config, plan.vocabulary) if plan else (None, config, None)
        )
        if finished is not None:
            if plan is not None and plan.run is not None:
                log.info(f"{plan.run.path} is finished; training.max_iters=N extends it")
            return finished.exact.val
        with stop.deferred():  # an exception inside Hydra comes out as one of Hydra's
            changed = cli.changes_from_documented(config)
            changed_before = cli.changes_from_documented(plan.before) if plan is not None and plan.before else []
        stop.check()
        task, corpus = tasks.load(config.data, config.model, vocabulary)
        task.refuse_others(key for key in cli.given_keys() if key.startswith("training."))
        if plan is not None:
            plan.check(corpus.digest)

        schedule = SCHEDULE.partial(config.schedule)
        check_warmup(config.schedule, config.training.max_iters)

        # Build.
        seed, training, device = config.seed, config.training, select_device(config.device)
        seed_everything(seed, deterministic=config.deterministic)
        model = models.build(config.model, task.vocab_size).to(device)
        if plan is not None and plan.fork is not None:
            plan.fork.load(model)
        short = ShortWindows(training.short_window, training.short_iters) if training.short_window else None
        data = task.data(corpus, model, device, short)
        runtime = select_runtime(device, config.dtype, model)
        optimizer = OPTIMIZER.build(config.optimizer, model=model, learning_rate=training.learning_rate)
        loggers = chosen_loggers(config.logger)
        preparing = time.perf_counter()
        task.prepare(model, data)
        if config.overfit is not None:
            data = OneBatch(data)
        batches = [data.training_batch(seed, i, training.batch_size) for i in sorted({0, training.short_iters})]
        loss, reported_loss = training_losses(
            model, batches, runtime, parts=world.size * training.grad_accumulation,
            label_smoothing=training.label_smoothing, compile=config.compile,
        )  # fmt: skip
        prepared_in = time.perf_counter() - preparing
        state = TrainingState(model, optimizer, runtime)
        if plan is not None and plan.checkpoint is not None:
            state.restore(plan.checkpoint.progress, plan.checkpoint.tensors())
            if plan.before is not None and plan.is_extension:
                check_extension(schedule, state.progress.iteration, plan.before.training.max_iters, training.max_iters)
            if changed_before != changed:
                state.progress.history.append(Segment(until=state.progress.iteration, changed=changed_before))
        state.progress.preparing_seconds += prepared_in
        state.broadcast(world)

        # Train. Rank 0 opens the run folder and writes; watchers that change the training state or end the run exist on
        # every rank.
        started = time.perf_counter()
        run, reopen = stack.enter_context(plan.opened(task.vocabulary(corpus))) if plan is not None else (None, None)
        guard = NonFiniteGuard(state, training.on_nonfinite, schedule, training.max_iters)
        watchers: list[Watcher] = [guard]
        if run is not None:
            processes = "" if world.size == 1 else f", {world.size} processes"
            log.info(task.described(corpus))
            log.info(f"{config.stage}: {config.adds}; {size_of(model):,} parameters, seed {seed}, {runtime}{processes}")
            if changed:
                log.info(f"changed from the documented run: {', '.join(changed)}")
            checkpoints = CheckpointWriter(
                state, Checkpoints(run, config.checkpoint.keep), guard,
                interval=config.checkpoint.interval, min_seconds=config.checkpoint.min_seconds,
                is_saved=plan is None or plan.fork is None,
            )  # fmt: skip
            stack.enter_context(explaining_how_to_resume(run, lambda: checkpoints.is_saved(state)))
            watchers += [
                *([] if reopen is None else [Reopening(reopen)]),
                ConsoleLog(
                    max_iters=training.max_iters,
                    epoch=lambda iteration: data.epoch(seed, iteration, training.batch_size),
                    examples=lambda: task.examples(model, corpus),
                ),
                StepLog(training.log_interval),
                RunWriter(run),
                checkpoints,
                *(logger(run=run) for logger in loggers),
                *more_watchers,
                ProgressBar(state, training.max_iters),
            ]
            for watcher in watchers:
                stack.callback(watcher.close)
        if training.average_last:
            start = round((1 - training.average_last) * training.max_iters, 6)  # 1500, not 1500.0000000000002
            watchers.append(WeightAverage(state, start, run))
        else:
            state.reset_average()
        train(
            state, data, schedule, watchers, seed=seed, max_iters=training.max_iters,
            batch_size=training.batch_size, eval_interval=training.eval_interval, eval_iters=training.eval_iters,
            grad_accumulation=training.grad_accumulation, grad_clip=training.grad_clip,
            log_interval=training.log_interval, loss=loss, reported_loss=reported_loss, runtime=runtime, world=world,
            stop=stop, stop_below=config.overfit,
        )  # fmt: skip

        # Report.
        exact = exact_loss(model, data, "val", runtime=runtime, world=world)
        if run is not None:
            with stop.deferred():  # a signal must not interrupt an import or a file that is nearly written
                summary = summarise(
                    state.progress, runtime, stage=config.stage, seed=seed, name=config.name, tags=config.tags,
                    parent=run.parent(), commands=run.commands(), documented=config.documented, changed=changed,
                    parameters=size_of(model), estimated_over=data.estimated_over, exact_val=exact,
                    target=config.target, last_batch=state.last_batch.item(),
                    tokens_per_second=state.tokens_per_second, seconds=time.perf_counter() - started,
                    skipped=int(state.skipped),
                )  # fmt: skip
                sample = run.path / "sample.txt"
                attempt("the sample", lambda: write_atomically(sample, task.sample(model, corpus, seed)))
                # Matplotlib reads the user's own settings, which can raise anything.
                attempt("the loss curve", lambda: plot_run(run, summary), (Exception,))
                run.write_summary(summary)
                for watcher in watchers:
                    watcher.reported(summary)
                for line in closing_lines(summary, run):
                    log.info(line)
            if config.overfit is not None and summary.estimated.train >= config.overfit:
                raise UserError(
                    f"the loss on one batch is {summary.estimated.train:.4f} after {summary.iterations} iterations, "
                    f"which is not below {config.overfit:g}"
                )
            if stop.requested is not None:
                raise Stopped(stop.requested, f"stopped after {run.path} had finished")
        return exact


if __name__ == "__main__":
    cli.main(main, TrainConfig, "train", verbatim=(*DATA_PATHS, "init", "resume"))
