"""Resuming a run: which one, and from where. It keeps its settings; only its length may grow."""

import contextlib
import logging
import shlex
from collections.abc import Collection
from pathlib import Path

from gpt.base.console import command as called
from gpt.base.errors import RequestError, UserError
from gpt.config import keys
from gpt.config.command import Command
from gpt.config.schema import SETTING_FILES, TrainConfig
from gpt.config.values import as_typed
from gpt.models import STAGE
from gpt.registry import is_user_code, require
from gpt.runs.checkpoints import Checkpoints
from gpt.runs.creation import own_folder
from gpt.runs.finding import has_same_settings, skipping_damaged, started_runs
from gpt.runs.folder import RunFolder, holds_run
from gpt.runs.naming import resolve_run
from gpt.runs.records import Parent, Summary
from gpt.runs.weights import iteration_of
from gpt.session.forking import parent_of
from gpt.session.start import New, Resume
from gpt.session.trained_on import same_corpus
from gpt.training.schedules import depends_on_length

log = logging.getLogger(__name__)


def run_to_resume(config: TrainConfig, command: Command, new: New | None) -> RunFolder | None:
    """The run that resume= names; with resume=auto, the one that `new` would repeat, if there is one.

    Raises RequestError if there is no run of that name.
    """
    folder = own_folder(command)
    if new is None:
        run = RunFolder(resolve_run(str(config.resume), config.runs))
        if not holds_run(run.path):
            raise RequestError(f"resume={run.path}: {'not a run folder' if run.path.is_dir() else 'no such folder'}")
        if folder not in (None, run.path):
            raise RequestError(f"hydra.run.dir= is for new runs, but resume={config.resume} names a run: omit one")
        return run
    if config.resume is None or not command.writes:
        return None
    job = command.job
    if job is None and folder is not None:
        runs = [run] if (run := RunFolder(folder)).is_started() else []
    else:
        is_finished = None if job else False  # A repeated sweep skips finished runs.
        runs = started_runs(job.sweep if job else Path(config.runs), is_finished=is_finished)
    return next((run for run in runs if _is_asked_for(run, new.config, job.swept if job else ())), None)


def _is_asked_for(run: RunFolder, wanted: TrainConfig, swept: Collection[str]) -> bool:
    with skipping_damaged():
        before = run.config()
        return has_same_settings(before, wanted, swept) and _refusal_of_length(before, wanted) is None
    return False


def resumed(wanted: TrainConfig, command: Command, run: RunFolder, new: New | None) -> Resume | Summary:
    """How a resumed run begins, or its results if it has finished; `new` is the new run that resume=auto allows.

    Raises RequestError for a change that a resumed run does not allow, UserError if the run is damaged.
    """
    before = run.config()
    require(model=before.model, optimizer=before.optimizer, schedule=before.schedule)
    if new is None:
        _check_kept(run, before, wanted, command)
    config = _with_changes(before, wanted, command.given, is_found=new is not None)
    if refusal := _refusal_of_length(before, config):
        raise RequestError(f"{refusal}; to train its weights on, start a new run: init={shlex.quote(str(run.path))}")
    if run.is_finished() and config.training.length == before.training.length:
        if new is None and any(keys.declared(key).role == "label" for key in command.given):
            raise RequestError(f"{run.path} is finished: {called('tag')} and {called('name')} label it")
        summary = run.summary()
        iteration_of(run, summary.exact.weights)  # raises UserError if the weights are lost
        log.info(f"{run.path} is finished; training.max_iters=N extends it")
        return summary
    parent = run.record().parent
    checkpoint = Checkpoints(run, before.checkpoint.keep).newest()
    if checkpoint is None and (run.checkpoints() or run.is_finished()):
        raise UserError(f"{run.path} has no usable checkpoint: start a new run")
    if checkpoint is None and parent is not None and not _has_same_weights(parent):
        raise UserError(f"{run.path} has no checkpoint, and the weights it began with are gone: start a new run")
    data, corpus = same_corpus(run, STAGE.find(config.model), config.data, command.given)
    config = config.model_copy(update={"data": data})
    begins_with = parent if checkpoint is None else None
    return Resume(config, run.vocabulary(), corpus, begins_with, run=run, checkpoint=checkpoint)


def _has_same_weights(parent: Parent) -> bool:
    with contextlib.suppress(UserError):
        return parent_of(parent.folder).sha256 == parent.sha256
    return False


def _check_kept(run: RunFolder, before: TrainConfig, wanted: TrainConfig, command: Command) -> None:
    """Raise RequestError if a given key would change a setting that a resumed run keeps."""
    had, wants = (keys.flat(keys.completed(config.content())) for config in (before, wanted))
    for key in command.given:
        names = {name for name in had | wants if name == key or name.startswith(f"{key}.")}
        if is_user_code(key, command.settings.get(key)):  # which a resumed run needs
            names = {f"{key}._target_"}
        names = {name for name in names if keys.declared(name).role in keys.FIXED}
        is_same = all(had.get(name) == wants.get(name) for name in names) and key not in SETTING_FILES
        if keys.declared(key).role not in keys.FIXED or (is_same and key != "init"):
            continue
        if key in {"model", "init", *SETTING_FILES}:
            raise RequestError(f"a resumed run keeps its settings: omit {key}=")
        typed = (
            f"{key}={as_typed(command.settings[key])}" if key in command.settings else keys.format_setting(key, "...")
        )
        raise RequestError(
            f"a resumed run keeps its settings; to train its weights with {typed}, start a new run: "
            f"init={shlex.quote(str(run.path))} {shlex.quote(typed)}"
        )


def _with_changes(before: TrainConfig, wanted: TrainConfig, given: Collection[str], *, is_found: bool) -> TrainConfig:
    """The configuration of a run with the given values of keys that it does not keep.

    A run that resume=auto has found takes the length of the command, and keeps its labels.
    """
    content, others = before.content(), wanted.content()
    lengths = keys.LENGTHS if is_found or not {*keys.LENGTHS}.isdisjoint(given) else ()
    kept = {*keys.FIXED, "length", "label"} if is_found else {*keys.FIXED, "length"}
    free = [key for key in given if keys.declared(key).role not in kept]
    for key in (*lengths, *free):
        group, _, name = key.partition(".")
        if name and group in content and group not in keys.choice_groups(several=True):
            content[group] |= {name: others[group][name]}
        elif group in content:
            content[group] = others[group]
    return TrainConfig.model_validate(content)


def _refusal_of_length(before: TrainConfig, wanted: TrainConfig) -> str | None:
    """Why a run cannot have the wanted length; None if it can."""
    (kind, had), (other, wants) = before.training.length, wanted.training.length
    if kind != other:
        return f"its length is training.{kind}={had:g}, and cannot be set by training.{other}="
    if wants < had:
        return f"a resumed run can only grow, and this one has training.{kind}={had:g}"
    if wants > had and before.training.average_last:
        return "with training.average_last=, a run cannot grow"
    if wants > had and depends_on_length(before.schedule, before.training.max_iters):
        return "a run whose learning rates depend on its length cannot grow"
    return None
