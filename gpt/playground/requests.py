"""The page's requests, with limits that two cores can handle."""

from typing import Annotated, Literal

from pydantic import Field

from gpt.base.choices import CountOrZero
from gpt.base.command_schemas import SamplingConfig
from gpt.base.schema import Schema, StageName

LARGEST_BODY = 64 * 1024  # bytes
LARGEST_TEXT = 2**25  # bytes of a request with a text to train on

_Text = Annotated[str, Field(min_length=1, max_length=2000)]
_TokenId = Annotated[int, Field(ge=0, lt=2**31)]
_Sentence = Annotated[str, Field(min_length=1, max_length=500)]


class Asked(Schema):
    """Fields of every request."""

    run: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    moment: CountOrZero | None = None  # the iteration of a snapshot; None: the weights that the run is shown with


class AboutTokens(Asked):
    """Request about a text. A part of a text would be split into other tokens than the text itself."""

    ids: Annotated[list[_TokenId], Field(min_length=1)]


class AboutLogits(AboutTokens):
    """Request for logits, with parts of the run turned off."""

    off: Annotated[list[Annotated[str, Field(max_length=50)]], Field(max_length=1000, default_factory=list)]


class AboutRow(AboutTokens):
    """Request for the values of the forward pass of one token."""

    row: Annotated[int, Field(ge=0, le=2**31)]


class Continuing(Asked, SamplingConfig):
    """Request for the continuation of a prompt."""

    prompt: _Text
    tokens: Annotated[int, Field(ge=1, le=1000)]


class Translating(Asked):
    """Request for the translations of a sentence."""

    sentence: _Sentence
    beam: Annotated[int, Field(ge=1, le=10)]
    length_penalty: Annotated[float, Field(ge=0, le=5, allow_inf_nan=False)]


class AboutTranslation(Asked):
    """Request for the cross-attention of a translation."""

    sentence: _Sentence
    target: Annotated[list[_TokenId], Field(max_length=1000)]


class Beginning(Schema):
    """Request for a training of a stage."""

    stage: StageName
    settings: Annotated[str, Field(max_length=2000)]  # as on the command line
    text: Annotated[str, Field(min_length=1)] | None = None  # None: the corpus of the stage


class Changing(Schema):
    """Request to stop a training, with a checkpoint, or to go on with it."""

    to: Literal["pause", "resume"]
