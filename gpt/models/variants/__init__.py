"""Stages with one idea less or one more, which measure what the idea is worth: model=v6_without_residuals."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., None])


def signature_of(constructor: Callable[..., None]) -> Callable[[Function], Function]:
    """Decorate a variant's constructor with the signature of its stage's: the schema of the hyperparameters."""
    return cast(Any, wraps(constructor))
