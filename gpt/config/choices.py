"""Types of hyperparameters, with their ranges: annotations in the signatures of stages, loaders and the like."""

from typing import Annotated

from pydantic import AfterValidator, Field

from gpt.base.paths import expanded

Size = Annotated[int, Field(ge=1, le=2**16)]  # of channels, heads, hidden layers
Depth = Annotated[int, Field(ge=1, le=256)]  # of a stack of layers
Length = Annotated[int, Field(ge=1, le=2**20)]  # of a window, in tokens
BatchSize = Annotated[int, Field(ge=1, le=2**20)]  # in windows, or in target tokens
Count = Annotated[int, Field(ge=1, lt=2**31)]
CountOrZero = Annotated[int, Field(ge=0, lt=2**31)]
Share = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]  # a fraction, a probability, a decay rate
NonNegative = Annotated[float, Field(ge=0, le=1e30, allow_inf_nan=False)]  # in float32 too


def _path(text: str) -> str:
    if "\0" in text:
        raise ValueError("a path has no null character")
    return expanded(text)


PathName = Annotated[str, Field(min_length=1), AfterValidator(_path)]  # ~ is expanded when it is validated
PathNames = PathName | Annotated[list[PathName], Field(min_length=1)]
