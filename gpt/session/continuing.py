"""Going on with a run: which one, from where, and what of its settings may change."""

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gpt.base import keys
from gpt.base.console import command
from gpt.base.errors import RequestError, UserError
from gpt.base.losses import Seen
from gpt.base.request import Request
from gpt.base.schema import SETTING_FILES, TrainConfig
from gpt.base.stopping import Stop
from gpt.cli.requesting import changed
from gpt.data.corpus import Corpus
from gpt.models import STAGE
from gpt.runs.checkpoints import Checkpoint, Checkpoints, largest_state
from gpt.runs.finding import has_same_config, started_runs
from gpt.runs.folder import RunFolder
from gpt.runs.records import Parent, Summary
from gpt.runs.weights import iteration_of, planned_model, remove_snapshots_after
from gpt.session.job import Beginning, Job, Start
from gpt.session.length import Done
from gpt.session.trained_on import same_corpus
from gpt.tasks import Stage, Task
from gpt.training.progress import Segment
from gpt.training.state import TrainingState, check_extension
from gpt.training.watchers import Watcher
from gpt.watching.recorders import Reopening

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Continued(Beginning):
    """A run so far: a checkpoint in its folder or, before its first one, what the run began with."""

    run: RunFolder
    before: TrainConfig  # its configuration so far
    changed: Sequence[str]  # as key=value: what that changed from the documented run
    checkpoint: Checkpoint | None
    origin: Beginning
    parent: Parent | None = None  # of the origin, where there is no checkpoint

    def seen(self, task: Task, corpus: Corpus, stage: Stage) -> Seen | None:
        """As its evaluations say."""
        if self.checkpoint is None:
            return self.origin.seen(task, corpus, stage)
        evaluations = self.checkpoint.progress.evaluations
        return evaluations[-1].val.over.seen if evaluations else None

    def begin(self, state: TrainingState, job: Job) -> None:
        """Restore the checkpoint.

        Raises UserError if it is damaged, RequestError if the run cannot be extended with this schedule.
        """
        if self.checkpoint is None:
            self.origin.begin(state, job)
            return
        state.restore(self.checkpoint.progress, self.checkpoint.tensors())
        progress, recipe, before = state.progress, job.recipe, self.before.training.max_iters
        length, progress.planned = recipe.settings.max_iters, None
        newest = progress.evaluations[-1] if progress.evaluations else None
        if newest is not None and newest.iteration == progress.iteration < length:
            # The last evaluation of a shorter run has the learning rates of the next update from now on.
            rates = recipe.rates(progress, state.optimizer.peaks)
            progress.evaluations[-1] = newest.model_copy(update={"learning_rates": rates})
        is_timed = recipe.settings.budget is not None  # the schedule follows the time
        if before != length and self.before.schedule == job.config.schedule and not is_timed:
            check_extension(recipe.schedule, progress.iteration, before, length)
        if [*self.changed] != [*job.changed]:
            progress.history.append(Segment(until=progress.iteration, changed=list(self.changed)))

    @contextlib.contextmanager
    def opened(self, job: Job) -> Iterator[tuple[RunFolder, Sequence[Watcher]]]:
        """Yield the folder, and what reopens it; until then it stays unchanged."""
        run, iteration = self.run, self._iteration
        with run.logging() as start_log:
            log.info(f"resuming {run.path} from iteration {iteration}")
            if later := [f"{saved:08d}" for saved in run.checkpoints() if saved > iteration]:
                log.warning(f"everything after iteration {iteration} will be replaced: checkpoint {', '.join(later)}")
            if edited := keys.differences(self.before.content(), job.config.content()):
                log.info(f"changed for the rest of the run: {', '.join(edited)}")
            yield run, [Reopening(partial(self._reopen, start_log, job))]

    def _reopen(self, start_log: Callable[[], None], job: Job) -> None:
        """Undo what came after the checkpoint, and write what the run has now."""
        start_log()
        run, iteration = self.run, self._iteration
        run.mark_training()
        run.write_config(job.config)
        run.write_vocabulary(job.vocabulary)
        run.write_command(job.start.request.command, iteration)
        Checkpoints(run, job.config.checkpoint.keep).remove_after(iteration)
        remove_snapshots_after(run, iteration)
        if self.checkpoint is not None:
            self.checkpoint.restore_best(run.weights("best"))
            run.write_metrics(self.checkpoint.progress)

    @property
    def _iteration(self) -> int:
        return self.checkpoint.progress.iteration if self.checkpoint else 0


def run_to_continue(request: Request, new: Start | None) -> RunFolder | None:
    """The run that resume= names; with resume=auto, the one in the given folder, or one with `new`'s configuration.

    Raises RequestError if there is no run of that name.
    """
    destination = request.destination
    if new is None:
        run = _named_run(Path(str(request.resume)))
        if destination is not None and ("runs" in request.given or destination.folder not in (None, run.path)):
            place = f"runs={destination.runs}" if "runs" in request.given else f"hydra.run.dir={destination.folder}"
            raise RequestError(f"{place} is for new runs, but resume={request.resume} names a run: omit one")
        return run
    if request.resume is None or destination is None:
        return None
    if not request.is_of_sweep and destination.folder is not None:
        run = RunFolder(destination.folder)
        return run if run.is_started() else None
    runs = started_runs(destination.sweep or destination.runs, is_finished=None if request.is_of_sweep else False)
    other = () if destination.changed is None else (*destination.changed, *keys.having("extends"))
    as_asked = (run for ignored in ((), other) for run in runs
                if has_same_config(run, new.config, destination.swept, ignored))  # fmt: skip
    return next(as_asked, None)


def continued(wanted: TrainConfig, request: Request, run: RunFolder, new: Start | None, stop: Stop) -> Start | Summary:
    """A run that goes on, with the settings that are `wanted`, or its results; `new`, if resume=auto could start it.

    Raises RequestError for a change that a resumed run does not allow, UserError if the run is damaged.
    """
    before, typed = run.config(), request.destination.changed if request.destination else None
    given = request.given if new is None else _found_with(run, wanted, request)
    if typed is not None:
        given = [*typed, *(key for key in keys.having("extends") if key in given)]
    config, edited = _with_changes(before, wanted, given)
    checkpoint = _checkpoint(request, config.checkpoint.keep, run)
    is_finished = run.is_finished() and not any(
        getattr(before.training, name) != getattr(config.training, name)
        for group, _, name in (key.partition(".") for key in (*keys.having("extends"), "training.patience"))
        if group == "training"
    )  # otherwise it will be extended
    if is_finished or (new is not None and typed is None):
        _check_settings(run, before, config, is_finished=is_finished)
    if is_finished:
        if labels := [key for key in keys.having("is_label") if getattr(config, key) != getattr(before, key)]:
            advice = f"{run.path} is finished: {command('tag' if 'tags' in labels else 'name')} labels it"
            if new is None:
                raise RequestError(advice)
            log.warning(advice)
        summary = run.summary()
        iteration_of(run, summary.exact.weights)  # raises UserError if its results are lost
        log.info(f"{run.path} is finished; training.max_iters=N extends it")
        return summary
    origin = Beginning() if new is None else new.beginning
    if checkpoint is None:
        _check_restart(run, before, origin.parent, edited)
        beginning, done = Continued(run, before, [], None, origin, origin.parent), Done(before.training)
    else:
        with stop.deferred():  # Hydra would turn an exception into one of its own
            beginning = Continued(run, before, changed(before, request), checkpoint, origin)
        so_far = checkpoint.progress
        done = Done(before.training, str(checkpoint.path), so_far.iteration, so_far.tokens, so_far.seconds)
    data, corpus = same_corpus(run, STAGE.find(config.model), config.data, request.given)
    config = config.model_copy(update={"data": data})
    return Start(config, request, beginning, run.vocabulary(), corpus, done)


def _named_run(path: Path) -> RunFolder:
    """The run at `path`, which is its folder or one of its checkpoints. Raises RequestError if it is neither."""
    folder = path.parent.parent if _is_checkpoint(path) else path
    if not path.is_dir():
        raise RequestError(f"resume={path}: no such folder")
    if not (folder / "config.yaml").exists():
        raise RequestError(f"resume={path}: neither a run folder nor a checkpoint in one")
    return RunFolder(folder)


def _checkpoint(request: Request, keep: int, run: RunFolder) -> Checkpoint | None:
    """The checkpoint that resume= names, else the newest intact one, if any."""
    model, named = planned_model(run), Path(str(request.resume))
    most = largest_state(model)
    checkpoint = Checkpoint.read(named, most) if _is_checkpoint(named) else Checkpoints(run, keep, most).newest()
    if checkpoint is not None:
        checkpoint.check_model(model)
    return checkpoint


def _is_checkpoint(path: Path) -> bool:
    return path.parent.name == "checkpoints" and not (path / "config.yaml").exists()


def _found_with(run: RunFolder, wanted: TrainConfig, request: Request) -> list[str]:
    """The keys that count when resume=auto has found a run; of labels, those given that differ from its first ones.

    So a command that is repeated as it was does not undo what `python -m gpt tag` or `name` did since.
    """
    first = run.first_config()

    def counts(key: str) -> bool:
        if not keys.declared(key).is_label:
            return True
        value = getattr(wanted, key)
        return value != getattr(first, key) and bool(value or key in request.given)

    return list(filter(counts, _all_keys(wanted)))


def _with_changes(kept: TrainConfig, wanted: TrainConfig, given: Iterable[str]) -> tuple[TrainConfig, list[str]]:
    """The configuration of a run with the `given` keys replaced, and the resulting changes.

    Raises RequestError for a change that a resumed run does not allow.
    """
    given = list(given)
    for group in SETTING_FILES.keys() & {*given}:
        raise RequestError(f"{group}= is for new runs; to resume one, give the values that should change")
    before, other, merged = keys.completed(kept.content()), wanted.content(), kept.content()
    had, wants = keys.flat(before), keys.flat(other)
    for key in given:
        for name in keys.identifying(key):
            old, new = had.get(name), wants.get(name)
            if old != new:
                was, is_now = keys.shown(name, old), keys.shown(name, new)
                raise RequestError(f"a run with {was} cannot be resumed with {is_now}: start a new run for that")
        if key.partition(".")[0] not in other:
            continue  # of the command, not of the run, such as quiet
        if keys.declared(key).resumable and key != "data":  # a corpus keeps its own values: give these by name
            _set(merged, key, wants.get(key, other.get(key)))  # of a group, all its keys
    for key in keys.superseded(given):
        _set(merged, key, None)
    edited, settings = keys.differences(before, merged), keys.flat(merged)
    for change in edited:
        key = change.partition("=")[0]
        if deciding := keys.fixed_by(key, settings):
            raise RequestError(
                f"with {keys.shown(deciding, settings[deciding])}, the evaluations so far count in when the run ends, "
                f"and they had {keys.shown(key, had[key])}, not {change}: start a new run"
            )
    return TrainConfig.model_validate(merged), edited


def _check_settings(run: RunFolder, before: TrainConfig, wanted: TrainConfig, *, is_finished: bool) -> None:
    """Raise RequestError if the run has other settings than the request wants.

    A finished run cannot take new settings; with resume=auto, an unfinished one takes only those that extend it, and
    those that are not compared with the documented run.
    """

    def counts(change: str) -> bool:
        key = change.partition("=")[0]
        own = keys.declared(key)
        return own.matched if is_finished else keys.compared(key, settings) and not own.extends

    old, new = keys.completed(before.content()), keys.completed(wanted.content())
    settings = keys.flat(new)
    asked = [change for change in keys.differences(old, new) if counts(change)]
    if asked:
        has = ", ".join(change for change in keys.differences(new, old) if counts(change))
        kind = "a finished run" if is_finished else "a run"
        advice = "training.max_iters=N extends it" if is_finished else f"resume={run.path} changes it"
        raise RequestError(
            f"{run.path} is {kind} with {has}, not with {', '.join(asked)}: choose another folder; {advice}"
        )


def _check_restart(run: RunFolder, before: TrainConfig, parent: Parent | None, edited: list[str]) -> None:
    """Raise UserError if restarting a run that has no checkpoint is impossible or would overwrite results.

    A run that was killed before its first checkpoint has evaluations, which a restart repeats unless settings change.
    """
    stored = run.parent()
    if before.init is not None and (parent is None or stored is None or stored.sha256 != parent.sha256):
        raise UserError(f"{run.path} has no usable checkpoint: start over with init={before.init}")
    names = ("summary.json", "last.safetensors", "averaged.safetensors")
    if run.checkpoints() or any((run.path / name).exists() for name in names):
        raise UserError(
            f"{run.path} has no usable checkpoint, and restarting it would overwrite its results: "
            "start a new run elsewhere"
        )
    others = [change for change in edited if keys.compared(change.partition("=")[0])]
    if others and (run.path / "metrics.jsonl").exists() and run.evaluations()[-1].iteration > 0:
        raise UserError(
            f"{run.path} has no checkpoint yet, and {', '.join(others)} would change its evaluations: "
            "resume it without that, or start a new run"
        )


def _all_keys(config: TrainConfig) -> list[str]:
    """Every key of a configuration, with those groups that are replaced as a whole; without undecided ones."""
    whole, undecided = keys.having("is_whole"), {f"training.{key}" for key in config.training.undecided}
    single = keys.flat({key: value for key, value in config.content().items() if key not in whole})
    return [*whole, *(key for key in single if key not in undecided)]


def _set(content: dict[str, Any], key: str, value: Any) -> None:
    *groups, name = key.split(".")
    for group in groups:
        content = content.setdefault(group, {})
    content[name] = value
