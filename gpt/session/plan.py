"""How a training run is to begin: decided here, in one place that only reads.

The weights are random, those of another run (`init=`) or those of a checkpoint (`resume=`); the results go to a new
folder, to the one of the run that continues, or nowhere.
"""

import contextlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from torch import nn

from gpt.base.choices import Choice
from gpt.base.console import command
from gpt.base.errors import RequestError
from gpt.base.keys import having
from gpt.base.request import Request
from gpt.base.schema import Documented, TrainConfig
from gpt.base.stopping import Stop
from gpt.cli.requesting import changed
from gpt.data.corpus import Corpus
from gpt.data.vocabulary import Vocabulary
from gpt.models import STAGE
from gpt.runs.checkpoints import Checkpoint, Checkpoints, largest_state
from gpt.runs.finding import has_same_config, started_runs
from gpt.runs.folder import RunFolder
from gpt.runs.records import Summary
from gpt.runs.weights import planned_model
from gpt.session.beginnings import Beginning, Resumed
from gpt.session.continuing import check_restart, check_settings, same_corpus, with_changes
from gpt.session.folders import ContinuedFolder, NewFolder
from gpt.session.forking import Fork
from gpt.session.length import Done
from gpt.session.modules import Module, check_module
from gpt.training.processes import ALONE, World

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """How a run is to begin, before its corpus is read; `for_others` is that of the ranks other than 0."""

    config: TrainConfig  # as asked, with what a run that continues or is forked keeps
    request: Request
    beginning: Beginning = field(default_factory=Beginning)
    vocabulary: Vocabulary | None = None  # None: built from the corpus
    corpus: Corpus | None = None  # that of the run to continue, if it has been read already
    folder: NewFolder | ContinuedFolder | None = None
    done: Done | None = None  # of the run that continues
    finished: Summary | None = None  # of a run that has nothing left to train

    def for_others(self) -> "Plan":
        """The same without what rank 0 sends to the others, or writes."""
        return replace(self, beginning=Beginning(), corpus=None, folder=None)


@contextlib.contextmanager
def planned(
    config: TrainConfig, request: Request, stop: Stop, world: World = ALONE, module: Module | None = None
) -> Iterator[Plan]:
    """Decide on rank 0 how the run begins that a request asks for; the other ranks follow.

    A run that continues stays locked inside the context. Raises RequestError for a change that a resumed run does not
    allow, UserError if the run is damaged.
    """
    if not world.is_first:
        follower: Plan | None = world.broadcast(None)
        assert follower is not None
        yield follower
        return
    if module is not None and request.resume is not None:
        raise RequestError("resume= works for stages only; to train this module longer, start it again")
    for key in (*having("of_folder"), "hydra.run.dir"):
        if request.destination is None and key in request.given:
            raise RequestError(f"{key}= is about run folders, but without folder= there is none: add folder=")
    if module is not None and any(key.partition(".")[0] == "model" for key in request.given):
        log.warning(f"module= takes the place of {config.stage}, of which only the training settings are used")
    new = _new(config, request, module) if request.resume in (None, "auto") else None
    run = _run_to_continue(request, new)
    with run.locked() if run else contextlib.nullcontext():
        plan = _continued(new.config if new else config, request, run, new, stop) if run else cast(Plan, new)
        stop.check()
        world.broadcast(plan.for_others())
        yield plan


def _new(config: TrainConfig, request: Request, module: Module | None = None) -> Plan:
    """A new run, from random weights or those of the run that init= names."""
    if module is not None:
        config = _of_module(config, module)
    folder = None if request.destination is None else NewFolder(request.destination)
    if config.init is None:
        return Plan(config, request, folder=folder)
    fork = Fork.of(Path(config.init))
    config, corpus = fork.config(config, request.given, module)
    folder = folder and replace(folder, fork=fork)
    return Plan(config, request, fork, fork.run.vocabulary(), corpus, folder)


def _of_module(config: TrainConfig, module: Module) -> TrainConfig:
    """The configuration for training `module`, which has no documented run. Raises RequestError if it is no module."""
    check_module(module)
    kind = type(module) if isinstance(module, nn.Module) else module
    name = getattr(kind, "__qualname__", type(kind).__name__)
    own = {
        "stage": re.sub(r"[^\w-]", "_", name)[-100:],
        "adds": f"{name}, a module of the calling program",
        "model": Choice(_target_=f"{kind.__module__}.{name}"),
        "documented": Documented(train=None, val=None, kind=None),
    }
    return config.model_copy(update=own)


def _run_to_continue(request: Request, new: Plan | None) -> RunFolder | None:
    """The run that resume= names; with resume=auto, the one in the given folder, or one with `new`'s configuration."""
    destination = request.destination
    if new is None:
        run = _run_of(Path(str(request.resume)))
        if destination is not None and ("runs" in request.given or destination.folder not in (None, run.path)):
            place = f"runs={destination.runs}" if "runs" in request.given else f"hydra.run.dir={destination.folder}"
            raise RequestError(f"{place} is for new runs, but resume={request.resume} names a run: omit one")
        return run
    if request.resume is None or destination is None:
        return None
    if destination.sweep is None and destination.folder is not None:
        run = RunFolder(destination.folder)
        return run if run.is_started() else None
    is_sweep = destination.sweep is not None
    runs = started_runs(destination.sweep or destination.runs, is_finished=None if is_sweep else False)
    return next((run for run in runs if has_same_config(run, new.config, destination.swept)), None)


def _continued(wanted: TrainConfig, request: Request, run: RunFolder, new: Plan | None, stop: Stop) -> Plan:
    """A run that continues, with the settings that are `wanted`; `new`, if resume=auto could start it instead."""
    before = run.config()
    config, edited = with_changes(before, wanted, request.given if new is None else None)
    checkpoint = _checkpoint(request, config.checkpoint.keep, run)
    is_finished = run.is_finished() and not any(
        getattr(before.training, key) != getattr(config.training, key) for key in ("max_iters", "epochs", "patience")
    )  # otherwise it will be extended
    if is_finished or new is not None:
        check_settings(run, before, config, is_finished=is_finished)
    if is_finished:
        if new is None and (labels := {*having("is_label")} & {*request.given}):
            raise RequestError(f"{run.path} is finished: {command('tag' if 'tags' in labels else 'name')} labels it")
        log.info(f"{run.path} is finished; training.max_iters=N extends it")
        return Plan(config, request, finished=run.summary())
    beginning = Beginning() if new is None else new.beginning
    done = Done(before.training)
    if checkpoint is None:
        check_restart(run, before, beginning.parent, edited)
    else:
        with stop.deferred():  # Hydra would turn an exception into one of its own
            beginning = Resumed(checkpoint, before, changed(before, request), before.schedule == config.schedule)
        done = Done(before.training, str(checkpoint.path), checkpoint.progress.iteration, checkpoint.progress.tokens)
    data, corpus = same_corpus(run, STAGE.find(config.model), config.data, request.given)
    folder = ContinuedFolder(run, before, checkpoint)
    return Plan(config.model_copy(update={"data": data}), request, beginning, run.vocabulary(), corpus, folder, done)


def _checkpoint(request: Request, keep: int, run: RunFolder) -> Checkpoint | None:
    """The checkpoint that resume= names, else the newest intact one, if any."""
    model, named = planned_model(run), Path(str(request.resume))
    if _is_checkpoint(named):
        checkpoint: Checkpoint | None = Checkpoint.read(named, largest_state(model))
    else:
        checkpoint = Checkpoints(run, keep, largest_state(model)).newest()
    if checkpoint is not None:
        checkpoint.check_model(model)
    return checkpoint


def _run_of(path: Path) -> RunFolder:
    """The run at `path`, which is its folder or one of its checkpoints. Raises RequestError if it is neither."""
    folder = path.parent.parent if _is_checkpoint(path) else path
    if not path.is_dir():
        raise RequestError(f"resume={path}: no such folder")
    if not (folder / "config.yaml").exists():
        raise RequestError(f"resume={path}: neither a run folder nor a checkpoint in one")
    return RunFolder(folder)


def _is_checkpoint(path: Path) -> bool:
    return path.parent.name == "checkpoints" and not (path / "config.yaml").exists()
