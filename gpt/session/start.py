"""How a training run begins: decided here, in one place that only reads.

The weights are random, those of another run (`init=`) or those of a checkpoint (`resume=`); the results go to a new
folder, to the one of the run that continues, or nowhere.
"""

import contextlib
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from torch import nn

from gpt.base.choices import Choice
from gpt.base.errors import RequestError
from gpt.base.request import Request
from gpt.base.schema import Documented, TrainConfig, TrainingConfig
from gpt.base.stopping import Stop
from gpt.cli.requests import changed
from gpt.data.corpus import Corpus
from gpt.data.vocabulary import Vocabulary
from gpt.models import STAGE
from gpt.runs.checkpoints import Checkpoint, Checkpoints, largest_state
from gpt.runs.finding import has_same_config, started_runs
from gpt.runs.folder import RunFolder
from gpt.runs.records import Summary
from gpt.runs.weights import planned_model
from gpt.session.continuing import check_restart, check_settings, same_corpus, with_changes
from gpt.session.folders import ContinuedFolder, NewFolder
from gpt.session.forking import Fork
from gpt.session.modules import Module, check_module
from gpt.training.processes import ALONE, World

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """How a run begins. On ranks other than 0: the same configuration, without what rank 0 sends them or writes."""

    config: TrainConfig  # as it will be
    request: Request
    changed: Sequence[str] = ()  # as key=value: what differs from the documented run of the stage; known to rank 0
    weights: Fork | Checkpoint | None = None  # None: random
    vocabulary: Vocabulary | None = None  # None: built from the corpus
    corpus: Corpus | None = None  # that of the run to continue, if it has been read already
    folder: NewFolder | ContinuedFolder | None = None
    finished: Summary | None = None  # of a run that has nothing left to train

    def of_length(self, training: TrainingConfig) -> "Start":
        """With iterations in place of epochs and of seconds, which the data and the speed decide."""
        return replace(self, config=self.config.model_copy(update={"training": training}))

    def of_model(self, identity: dict[str, Any]) -> "Start":
        """With what identifies the model of a calling program, if it is one: no stage's documented run."""
        if not identity:
            return self
        model = self.config.model
        name = model.target.rpartition(".")[2]
        config = self.config.model_copy(update={"model": Choice(_target_=model.target, **identity)})
        return replace(self, config=config, changed=[f"model={name} of the calling program"])


@contextlib.contextmanager
def starting(
    config: TrainConfig, request: Request, stop: Stop, world: World = ALONE, module: Module | None = None
) -> Iterator[Start]:
    """Decide on rank 0 how the run begins that a request asks for; the other ranks follow.

    A run that continues stays locked inside the context. Raises RequestError for a change that a resumed run does not
    allow, UserError if the run is damaged.
    """
    if not world.is_first:
        follower: Start | None = world.broadcast(None)
        assert follower is not None
        yield follower
        return
    if module is not None and request.resume is not None:
        raise RequestError("resume= works for stages only; to train this module longer, start it again")
    for key in ("resume", "runs", "hydra.run.dir"):
        if request.destination is None and key in request.given:
            raise RequestError(f"{key}= is about run folders, but without folder= there is none: add folder=")
    if module is not None and any(key.partition(".")[0] == "model" for key in request.given):
        log.warning(f"module= takes the place of {config.stage}, of which only the training settings are used")
    new = _new(config, request, module) if request.resume in (None, "auto") else None
    run = _run_to_continue(request, new)
    with run.locked() if run else contextlib.nullcontext():
        start = _continued(new.config if new else config, request, run, new, stop) if run else cast(Start, new)
        stop.check()
        world.broadcast(replace(start, weights=None, corpus=None, folder=None))
        with stop.deferred():  # Hydra would turn an exception into one of its own
            differing = changed(start.config, request) if module is None and start.finished is None else []
        stop.check()
        yield replace(start, changed=differing)


def _new(config: TrainConfig, request: Request, module: Module | None = None) -> Start:
    """A new run, from random weights or those of the run that init= names."""
    if module is not None:
        config = _of_module(config, module)
    folder = None if request.destination is None else NewFolder(request.destination)
    if config.init is None:
        if "unknown_characters" in request.given:
            raise RequestError(
                "unknown_characters= applies to the vocabulary of the run that init= names: give both, or neither"
            )
        return Start(config, request, folder=folder)
    fork = Fork.of(Path(config.init))
    config, corpus = fork.config(config, request.given, module)
    folder = folder and replace(folder, fork=fork)
    return Start(config, request, weights=fork, vocabulary=fork.run.vocabulary(), corpus=corpus, folder=folder)


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


def _run_to_continue(request: Request, new: Start | None) -> RunFolder | None:
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


def _continued(wanted: TrainConfig, request: Request, run: RunFolder, new: Start | None, stop: Stop) -> Start:
    """A run that continues, with the settings that are `wanted`; `new`, if resume=auto could start it instead."""
    before = run.config()
    if new is not None and isinstance(wanted.training.eval_interval, str):  # already in iterations there
        interval = {"eval_interval": before.training.eval_interval}
        wanted = wanted.model_copy(update={"training": wanted.training.model_copy(update=interval)})
    config, edited = with_changes(before, wanted, request.given if new is None else None)
    checkpoint = _checkpoint(request, config.checkpoint.keep, run)
    finished = run.summary() if run.is_finished() else None
    length = (before.training.max_iters, before.training.patience)
    if length != (config.training.max_iters, config.training.patience) or config.training.epochs is not None:
        finished = None  # it will be extended
    if finished is not None or new is not None:
        check_settings(run, before, config, is_finished=finished is not None)
    if finished is not None:
        if new is None and (labels := {"name", "tags"} & {*request.given}):
            raise RequestError(
                f"{run.path} is finished: python -m gpt {'tag' if 'tags' in labels else 'name'} labels it"
            )
        log.info(f"{run.path} is finished; training.max_iters=N extends it")
        return Start(config, request, finished=finished)
    fork = new.weights if new is not None and isinstance(new.weights, Fork) else None
    if checkpoint is None:
        check_restart(run, before, fork.record if fork else None, edited)
    elif checkpoint.progress.iteration > config.training.max_iters:
        raise RequestError(f"training.max_iters={config.training.max_iters} is before {checkpoint.path}")
    data, corpus = same_corpus(run, STAGE.find(config.model), config.data, request.given)
    with stop.deferred():
        folder = ContinuedFolder(run, before, changed(before, request), edited, checkpoint)
    return Start(
        config.model_copy(update={"data": data}), request,
        weights=checkpoint or fork, vocabulary=run.vocabulary(), corpus=corpus, folder=folder,
    )  # fmt: skip


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
