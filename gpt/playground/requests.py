"""The page's requests, with limits that two cores can handle, and how they are read and answered."""

import json
from typing import Annotated, Literal, TypeVar

import pydantic
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from gpt.base.errors import RequestError, UserError, printable, report
from gpt.config.choices import CountOrZero
from gpt.config.command_schemas import SamplingConfig
from gpt.config.schema import Schema, StageName
from gpt.playground.assets import LARGEST_LENGTH_PENALTY, LONGEST_PROMPT, MOST_BEAMS, MOST_TOKENS

LARGEST_BODY = 64 * 1024  # bytes
LARGEST_TEXT = 2**25  # bytes of a request with a text to train on

# Memory runs out as a MemoryError or, on a GPU, as a RuntimeError.
FAILURES = (UserError, pydantic.ValidationError, HTTPException, OSError, ClientDisconnect, MemoryError, RuntimeError)

_TokenId = Annotated[int, Field(ge=0, lt=2**31)]
_Prompt = Annotated[str, Field(min_length=1, max_length=LONGEST_PROMPT)]


class RunRequest(Schema):
    """Fields of every request."""

    run: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    moment: CountOrZero | None = None  # the iteration of a snapshot; None: the run's weights on the page


class AboutTokens(RunRequest):
    """Request about a text, as token ids: a part of the text could be split into other tokens."""

    ids: Annotated[list[_TokenId], Field(min_length=1)]


class AboutLogits(AboutTokens):
    """Request for logits, with parts of the run turned off."""

    off: Annotated[list[Annotated[str, Field(max_length=50)]], Field(max_length=1000, default_factory=list)]


class AboutRow(AboutTokens):
    """Request for the values of the forward pass of one token."""

    row: Annotated[int, Field(ge=0, le=2**31)]


class Continuing(RunRequest, SamplingConfig):
    """Request for the continuation of a prompt."""

    prompt: _Prompt
    tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)]


class Translating(RunRequest):
    """Request for the translations of a sentence."""

    sentence: _Prompt
    beam: Annotated[int, Field(ge=1, le=MOST_BEAMS)]
    length_penalty: Annotated[float, Field(ge=0, le=LARGEST_LENGTH_PENALTY, allow_inf_nan=False)]


class AboutTranslation(RunRequest):
    """Request for the cross-attention of a translation."""

    sentence: _Prompt
    target: Annotated[list[_TokenId], Field(max_length=1000)]


class Beginning(Schema):
    """Request for a training of a stage."""

    stage: StageName
    settings: Annotated[str, Field(max_length=2000)]  # as on the command line
    text: Annotated[str, Field(min_length=1)] | None = None  # None: the corpus of the stage
    name: Annotated[str, Field(max_length=255)] = "text"  # of the text


class Changing(Schema):
    """Request to stop a training, with a checkpoint, or to go on with it."""

    to: Literal["pause", "resume"]


AnyAsked = TypeVar("AnyAsked", bound=pydantic.BaseModel)


async def read(request: Request, kind: type[AnyAsked], largest: int = LARGEST_BODY) -> AnyAsked:
    """The parsed request. Raises HTTPException or ValidationError if it is not one that the page would send."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "a request must be application/json")  # A form on another page cannot send it.
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > largest:
            raise HTTPException(413, f"a request must have at most {largest:,} bytes")
    return kind.model_validate_json(body)


def as_json(content: object, status: int = 200) -> Response:
    """An answer in JSON."""
    return Response(json.dumps(content), status, media_type="application/json")


async def failed(_: Request, error: Exception) -> Response:
    """The error as the line that a script would print."""
    if isinstance(error, HTTPException):
        return as_json({"error": error.detail}, error.status_code)
    reported = report(error)
    if reported is None and not isinstance(error, ClientDisconnect):
        raise error
    message, code = reported or ("the client has disconnected", UserError.exit_code)
    status = 422 if code == RequestError.exit_code else 500
    return as_json({"error": printable(message)}, status)
