"""Modules that are trained instead of a stage: what a run says of one that only the caller's program has."""

import re
from dataclasses import replace

from torch import nn

from gpt.base.choices import Choice
from gpt.base.errors import RequestError
from gpt.base.request import Request
from gpt.base.schema import Documented, TrainConfig
from gpt.session.job import Module


def for_module(module: Module, config: TrainConfig, request: Request) -> tuple[TrainConfig, Request]:
    """The configuration and the request of a training of `module`, which has no documented run.

    Raises RequestError if it is to resume a run: that would need the stage's own name.
    """
    if request.resume is not None:
        raise RequestError("resume= continues a run of a stage; to train this module longer, start it again")
    made = type(module) if isinstance(module, nn.Module) else module
    name = getattr(made, "__qualname__", type(made).__name__)
    own = {
        "stage": re.sub(r"[^\w-]", "_", name)[-100:],
        "adds": f"{name}, a module of the caller's",
        "model": Choice(_target_=f"{made.__module__}.{name}"),
        "documented": Documented(train=None, val=None, kind=None),
    }
    config = config.model_copy(update=own)
    return config, replace(request, documented=lambda _: config.content())
