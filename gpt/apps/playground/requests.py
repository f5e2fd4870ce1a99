"""What the page may ask for, with limits that two cores can answer."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from gpt.base.schema import Seed

LARGEST_BODY = 64 * 1024  # bytes

_Text = Annotated[str, Field(min_length=1, max_length=2000)]
_Sentence = Annotated[str, Field(min_length=1, max_length=500)]


class Asked(BaseModel):
    """What every request has."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    run: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]


class AboutText(Asked):
    """For logits or attention."""

    text: _Text


class Continuing(Asked):
    """For a text that goes on from a prompt."""

    prompt: _Text
    tokens: Annotated[int, Field(ge=1, le=1000)]
    temperature: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]
    top_k: Annotated[int, Field(ge=1, lt=2**31)] | None
    top_p: Annotated[float, Field(gt=0, le=1)] | None
    seed: Seed


class Translating(Asked):
    """For the translations of a sentence."""

    sentence: _Sentence
    beam: Annotated[int, Field(ge=1, le=10)]
    length_penalty: Annotated[float, Field(ge=0, le=5, allow_inf_nan=False)]


class AboutTranslation(Asked):
    """For the cross-attention of one of them."""

    sentence: _Sentence
    target: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(max_length=1000)]
