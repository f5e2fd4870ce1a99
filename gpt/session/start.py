"""How a run starts: as a new one, as a fork (`init=`) or where it was interrupted (`resume=`)."""

import contextlib
import logging
import re
from collections.abc import Iterator
from typing import cast

from torch import nn

from gpt.base.errors import RequestError
from gpt.config.choices import Choice
from gpt.config.request import Request
from gpt.config.schema import Documented, TrainConfig
from gpt.runs.records import Summary
from gpt.session.forking import forked
from gpt.session.modules import Module, check_module
from gpt.session.plan import Plan
from gpt.session.resuming import resumed, run_to_resume
from gpt.training.processes import ALONE, World

log = logging.getLogger(__name__)


@contextlib.contextmanager
def planned(
    config: TrainConfig, request: Request, world: World = ALONE, module: Module | None = None
) -> Iterator[Plan | Summary]:
    """The plan of the requested run, the same on every rank; or the results of a run that has finished.

    A resumed run stays locked inside the context. Raises RequestError for a request that cannot be trained, UserError
    if a corpus is missing or a run is damaged.
    """
    if not world.is_first:
        follower: Plan | Summary | None = world.broadcast(None)
        assert follower is not None
        yield follower
        return
    _check_module_run(config, request, module)
    new = None
    if config.resume in (None, "auto"):
        config = config if module is None else _of_module(config, module)
        new = Plan(config, request) if config.init is None else forked(config, request, module)
    run = run_to_resume(config, request, new)
    with run.locked() if run else contextlib.nullcontext():
        plan = resumed(new.config if new else config, request, run, new) if run else cast(Plan, new)
        world.broadcast(plan.for_others() if isinstance(plan, Plan) else plan)
        yield plan


def _check_module_run(config: TrainConfig, request: Request, module: Module | None) -> None:
    """Raise RequestError for keys that a run from Python cannot have."""
    if module is not None and config.resume is not None:
        raise RequestError("resume= works for stages only; to train this module longer, start it again")
    for key in ("runs", "hydra.run.dir"):
        if request.destination is None and key in request.given:
            raise RequestError(f"{key}= is about run folders, but without folder= there is none: add folder=")
    if module is not None and any(key.partition(".")[0] == "model" for key in request.given):
        log.warning(f"module= replaces {config.stage}; only its training settings are used")


def _of_module(config: TrainConfig, module: Module) -> TrainConfig:
    """The configuration for training `module`, without a documented run. Raises RequestError if it is no module."""
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
