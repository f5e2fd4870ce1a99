"""The start of a run, in one place that only reads.

The weights are random, those of another run (`init=`) or those of a checkpoint (`resume=`); the results go to a new
folder, to the one of the run that continues, or nowhere.
"""

import contextlib
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

from torch import nn

from gpt.base.choices import Choice
from gpt.base.errors import RequestError
from gpt.base.request import Request
from gpt.base.runtime import deterministic_algorithms, select_device
from gpt.base.schema import Documented, TrainConfig
from gpt.base.stopping import Stop
from gpt.cli.requesting import changed
from gpt.runs.records import Summary
from gpt.session.continuing import continued, run_to_continue
from gpt.session.forking import Fork
from gpt.session.job import Job, Start
from gpt.session.modules import Module, check_module
from gpt.training.compilation import compiler_options
from gpt.training.processes import ALONE, World

log = logging.getLogger(__name__)


@contextlib.contextmanager
def starting(
    config: TrainConfig, request: Request, stop: Stop, world: World = ALONE, module: Module | None = None
) -> Iterator[Job | Summary]:
    """The job that a request asks for, or the results of a finished run that has nothing left to train.

    A run that continues stays locked inside the context, and PyTorch has the settings of the run. Raises RequestError
    for what cannot be trained, or not in this folder; UserError if a corpus is missing, or a run damaged.
    """
    with contextlib.ExitStack() as stack:
        start = stack.enter_context(_decided(config, request, stop, world, module))
        if isinstance(start, Summary):
            yield start
            return
        stack.enter_context(deterministic_algorithms(wanted=start.config.deterministic))
        if start.config.compile:
            stack.enter_context(compiler_options(select_device(start.config.device)))
        job = Job.of(start, world, module)
        stack.enter_context(job.recipe.runtime.settings())
        if module is not None:
            name = job.config.model.target.rpartition(".")[2]
            job = replace(job, changed=[f"model={name} of the calling program"])
        elif world.is_first:
            with stop.deferred():  # Hydra would turn an exception into one of its own
                job = replace(job, changed=changed(job.config, request))
            stop.check()
        yield job


@contextlib.contextmanager
def _decided(
    config: TrainConfig, request: Request, stop: Stop, world: World, module: Module | None
) -> Iterator[Start | Summary]:
    """Decide on rank 0 how the run begins that a request asks for; the other ranks follow."""
    if not world.is_first:
        follower: Start | Summary | None = world.broadcast(None)
        assert follower is not None
        yield follower
        return
    if module is not None and request.resume is not None:
        raise RequestError("resume= works for stages only; to train this module longer, start it again")
    for key in ("runs", "hydra.run.dir"):
        if request.destination is None and key in request.given:
            raise RequestError(f"{key}= is about run folders, but without folder= there is none: add folder=")
    if module is not None and any(key.partition(".")[0] == "model" for key in request.given):
        log.warning(f"module= takes the place of {config.stage}, of which only the training settings are used")
    new = _new(config, request, module) if request.resume in (None, "auto") else None
    run = run_to_continue(request, new)
    with run.locked() if run else contextlib.nullcontext():
        start = continued(new.config if new else config, request, run, new) if run else cast(Start, new)
        stop.check()
        world.broadcast(start.for_others() if isinstance(start, Start) else start)
        yield start


def _new(config: TrainConfig, request: Request, module: Module | None) -> Start:
    """A new run, from random weights or those of the run that init= names."""
    if module is not None:
        config = _of_module(config, module)
    if config.init is not None:
        return Fork.of(Path(config.init)).start(config, request, module)
    return Start(config, request)


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
