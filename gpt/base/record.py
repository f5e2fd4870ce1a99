"""The base class of the records that a run stores."""

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

FiniteFloat = Annotated[float, Field(ge=-1e100, le=1e100, allow_inf_nan=False)]  # its square is still a number
Total = Annotated[int, Field(ge=0, lt=2**63)]  # of iterations, tokens, parameters
MetricName = Annotated[str, Field(pattern=r"^[\w-]+$", max_length=60)]


class Record(BaseModel):
    """A strict, immutable record."""

    largest: ClassVar[int] = 2**22  # bytes of a file that holds one; no record of a run comes near
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
