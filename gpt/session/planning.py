"""Planning: which run a request continues, if any, and what it changes. Nothing is written here."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpt.base.errors import RequestError
from gpt.base.request import Request
from gpt.base.schema import TrainConfig
from gpt.base.stopping import Stop
from gpt.data.vocabulary import Vocabulary
from gpt.runs.checkpoints import Checkpoint, Checkpoints, largest_state
from gpt.runs.corpus_files import located
from gpt.runs.finding import is_like, started_runs
from gpt.runs.folder import RunFolder
from gpt.runs.weights import planned_model
from gpt.session.continuing import all_keys, check_restart, check_settings, with_changes
from gpt.session.forking import Fork
from gpt.session.plan import NewRun, Plan, Resumption, is_checkpoint
from gpt.training.processes import World

log = logging.getLogger(__name__)


@contextlib.contextmanager
def planned(config: TrainConfig, request: Request, stop: Stop, world: World) -> Iterator[Plan]:
    """Plan a request: rank 0 decides, the others follow. A run to resume stays locked inside the context.

    Raises RequestError for a change that a resumed run does not allow, UserError if the run is damaged.
    """
    if not world.is_first:
        follower: Any = world.broadcast(None)
        yield follower
        return
    with _planned(config, request, stop) as plan:
        stop.check()
        world.broadcast(Plan(plan.config, plan.changed, plan.vocabulary, plan.finished))
        yield plan


def unrecorded(config: TrainConfig, request: Request) -> Plan:
    """The plan of a training run without a run folder, which may start from another run's weights.

    Raises RequestError for a key that is about run folders.
    """
    for key in ("resume", "runs", "hydra.run.dir"):
        if key in request.given:
            raise RequestError(f"{key}= is about run folders, but without folder= there is none: add folder=")
    config, fork = _forked(config, request)
    return Plan(config, request.changed(config), _vocabulary(fork), fork=fork)


@contextlib.contextmanager
def _planned(config: TrainConfig, request: Request, stop: Stop) -> Iterator[NewRun | Resumption]:
    fork, is_new = None, request.resume in (None, "auto")
    if is_new and config.init is None and "unknown_characters" in request.given:
        raise RequestError(
            "unknown_characters= applies to the vocabulary of the run that init= names: give both, or neither"
        )
    if is_new:
        config, fork = _forked(config, request)
    run = _named(request)
    for other in _searched(request):
        if is_like(other, config, request.destination.swept):
            run = other
            break
    if run is None:
        yield NewRun(config, _changed(request, config, stop), _vocabulary(fork), request=request, fork=fork)
        return
    with run.locked():
        yield _resumption(config, request, run, fork, stop)


def _forked(config: TrainConfig, request: Request) -> tuple[TrainConfig, Fork | None]:
    """The configuration of a new run with the settings of the run that init= names, and that run's weights."""
    if config.init is None:
        return config, None
    fork = Fork.of(Path(config.init))
    return fork.config(config, request.given), fork


def _vocabulary(fork: Fork | None) -> Vocabulary | None:
    return None if fork is None else fork.run.vocabulary()


def _resumption(config: TrainConfig, request: Request, run: RunFolder, fork: Fork | None, stop: Stop) -> Resumption:
    is_auto = request.resume == "auto"
    given = all_keys(config) if is_auto else request.given
    before = run.config()
    merged, edited = with_changes(before, config, given)
    if not is_auto:
        _check_destination(request, run)
    checkpoint = _checkpoint(request, merged.checkpoint.keep, run)
    finished = run.summary() if run.is_finished() else None
    if (before.training.max_iters, before.training.patience) != (merged.training.max_iters, merged.training.patience):
        finished = None  # it will be extended
    if finished is not None or is_auto:
        check_settings(run, before, merged, is_finished=finished is not None)
    if finished is None and checkpoint is None:
        check_restart(run, before, fork, edited)
    vocabulary = run.vocabulary()
    if finished is None:
        data = located(merged.data, vocabulary.files, config.data.hyperparameters, given)
        merged = merged.model_copy(update={"data": data})
    plan = Resumption(
        merged, [], vocabulary, finished, request=request, run=run, before=before, changed_before=[], edited=edited,
        checkpoint=checkpoint, fork=None if checkpoint else fork,
    )  # fmt: skip
    if finished is not None:
        log.info(f"{run.path} is finished; training.max_iters=N extends it")
        return plan
    changed, changed_before = _changed(request, merged, stop), _changed(request, before, stop)
    return replace(plan, changed=changed, changed_before=changed_before)


def _changed(request: Request, config: TrainConfig, stop: Stop) -> list[str]:
    with stop.deferred():  # Hydra would turn an exception into one of its own
        return request.changed(config)


def _check_destination(request: Request, run: RunFolder) -> None:
    folder = request.destination.folder
    if "runs" in request.given or folder not in (None, run.path):
        place = f"runs={request.destination.runs}" if "runs" in request.given else f"hydra.run.dir={folder}"
        raise RequestError(f"{place} is for new runs, but resume={request.resume} names a run: omit one")


def _checkpoint(request: Request, keep: int, run: RunFolder) -> Checkpoint | None:
    """The checkpoint that resume= names, else the newest intact one, if any."""
    model = planned_model(run)
    if request.resume not in (None, "auto") and is_checkpoint(Path(str(request.resume))):
        checkpoint: Checkpoint | None = Checkpoint.read(Path(str(request.resume)), largest_state(model))
    else:
        checkpoint = Checkpoints(run, keep, largest_state(model)).newest()
    if checkpoint is not None:
        checkpoint.check_model(model)
    return checkpoint


def _named(request: Request) -> RunFolder | None:
    """The run that resume= names or, with resume=auto, the one in the given folder."""
    if request.resume not in (None, "auto"):
        return _run_of(Path(str(request.resume)))
    destination = request.destination
    if request.resume is None or destination.folder is None or destination.sweep is not None:
        return None
    run = RunFolder(destination.folder)
    return run if run.is_started() else None


def _searched(request: Request) -> Iterator[RunFolder]:
    """The runs that resume=auto searches for one with the same configuration, in order."""
    destination = request.destination
    if request.resume == "auto" and destination.sweep is not None:
        yield from started_runs(destination.sweep, is_finished=None)
    elif request.resume == "auto" and destination.folder is None:
        yield from started_runs(destination.runs, is_finished=False)


def _run_of(path: Path) -> RunFolder:
    """The run at `path`, which is its folder or one of its checkpoints. Raises RequestError if it is neither."""
    folder = path.parent.parent if is_checkpoint(path) else path
    if not path.is_dir():
        raise RequestError(f"resume={path}: no such folder")
    if not (folder / "config.yaml").exists():
        raise RequestError(f"resume={path}: neither a run folder nor a checkpoint in one")
    return RunFolder(folder)
