"""The base class of the records that a run stores."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

FiniteFloat = Annotated[float, Field(ge=-1e100, le=1e100, allow_inf_nan=False)]  # its square is still a number
Total = Annotated[int, Field(ge=0, lt=2**63)]  # of iterations, tokens, parameters
MetricName = Annotated[str, Field(pattern=r"^[\w-]+$", max_length=60)]


class Record(BaseModel):
    """A strict, immutable record."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
