"""The base class of the records that a run stores."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
Iterations = Annotated[int, Field(ge=0, lt=2**63)]
MetricName = Annotated[str, Field(pattern=r"^[\w-]+$", max_length=60)]


class Record(BaseModel):
    """A strict, immutable record."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
