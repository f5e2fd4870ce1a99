"""Training a module of the caller's program instead of a stage: its configuration and request."""

import re
from dataclasses import replace

from torch import nn

from gpt.base.choices import Choice
from gpt.base.errors import RequestError
from gpt.base.request import Request
from gpt.base.schema import Documented, TrainConfig
from gpt.session.job import Module, check_module


def for_module(module: Module, config: TrainConfig, request: Request) -> tuple[TrainConfig, Request]:
    """The configuration and the request for training `module`, which has no documented run.

    Raises RequestError if it is no module, and for resume=: a run can be resumed only by the name of its stage.
    """
    check_module(module)
    if request.resume is not None:
        raise RequestError("resume= works for stages only; to train this module longer, start it again")
    made = type(module) if isinstance(module, nn.Module) else module
    name = getattr(made, "__qualname__", type(made).__name__)
    own = {
        "stage": re.sub(r"[^\w-]", "_", name)[-100:],
        "adds": f"{name}, a module of the calling program",
        "model": Choice(_target_=f"{made.__module__}.{name}"),
        "documented": Documented(train=None, val=None, kind=None),
    }
    config = config.model_copy(update=own)
    return config, replace(request, documented=lambda _: config.content())
