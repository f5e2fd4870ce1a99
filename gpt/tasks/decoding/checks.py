"""Checks of what a decoder is given: the options of a program, and the logits of a model."""

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from gpt.base.command_schemas import GenerateConfig
from gpt.base.errors import RequestError, UserError
from gpt.base.keys import checked_values
from gpt.base.schema import Schema

Options = TypeVar("Options", bound=Schema)


def checked_options(schema: type[Options], prompt: str | None, options: Mapping[str, Any]) -> Options:
    """The options of a decoder; scalars of NumPy and PyTorch become Python's.

    Raises RequestError unless `prompt` and the `options` have the names and ranges that they have in generate.py.
    """
    if unknown := [name for name in options if name not in schema.model_fields]:
        raise RequestError(f"{unknown[0]} is not an option here; there are {', '.join(sorted(schema.model_fields))}")
    plain = {
        name: x.item() if isinstance(x, np.generic | Tensor) and math.prod(x.shape) == 1 else x
        for name, x in options.items()
    }
    checked_values(GenerateConfig, {"prompt": prompt})
    return schema(**checked_values(schema, plain))


def checked_logits(logits: Tensor) -> Tensor:
    """The logits, (..., V), unchanged. Raises UserError if they leave no distribution.

    Finite weights can produce NaN or Inf.
    """
    if not logits.amax(dim=-1).isfinite().all():  # a token may be impossible, but not all of them
        raise UserError("the logits of this run contain NaN or Inf: its weights are damaged, or far too large")
    return logits
