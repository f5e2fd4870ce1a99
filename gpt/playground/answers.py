"""Requests read, and answered with JSON or tensors, as every route does."""

import asyncio
import json
from typing import TypeVar

import pydantic
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from torch import Tensor

from gpt.base.errors import RequestError, UserError, printable, report
from gpt.playground.requests import LARGEST_BODY
from gpt.playground.trainings import FullError
from gpt.playground.writing import BusyError
from gpt.runs.tensors import serialised

_PATIENCE = 10.0  # seconds for a request to arrive

# Memory runs out as a MemoryError or, on a GPU, as a RuntimeError.
FAILURES = (
    UserError, pydantic.ValidationError, HTTPException, OSError, ClientDisconnect, MemoryError, RuntimeError
)  # fmt: skip

AnyAsked = TypeVar("AnyAsked", bound=pydantic.BaseModel)


async def read(request: Request, kind: type[AnyAsked], largest: int = LARGEST_BODY) -> AnyAsked:
    """The parsed request. Raises HTTPException or ValidationError if it is not one that the page would send."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "a request must be application/json")  # which a form on another page cannot send
    body = b""
    try:
        async with asyncio.timeout(_PATIENCE):
            async for chunk in request.stream():
                body += chunk
                if len(body) > largest:
                    raise HTTPException(413, f"a request must have at most {largest:,} bytes")
    except TimeoutError:
        raise HTTPException(408, "the request did not arrive in time") from None
    return kind.model_validate_json(body)


def as_json(content: object, status: int = 200) -> Response:
    """An answer in JSON."""
    return Response(json.dumps(content), status, media_type="application/json")


def as_tensors(tensors: dict[str, Tensor]) -> Response:
    """As safetensors, which page/engines/tensors.js reads."""
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    return Response(serialised(contiguous), media_type="application/octet-stream")


async def failed(_: Request, error: Exception) -> Response:
    """The error as the line that a script would print."""
    if isinstance(error, HTTPException):
        return as_json({"error": error.detail}, error.status_code)
    reported = report(error)
    if reported is None and not isinstance(error, ClientDisconnect):
        raise error
    message, code = reported or ("the client has disconnected", UserError.exit_code)
    status = 503 if isinstance(error, BusyError | FullError) else 422 if code == RequestError.exit_code else 500
    return as_json({"error": printable(message)}, status)
