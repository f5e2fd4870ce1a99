"""The playground over HTTP: the page's files, and an API that answers with JSON, tensors or a stream of text."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import ExitStack, asynccontextmanager
from typing import Any, TypeVar

import pydantic
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from torch import Tensor

from gpt.base.errors import RequestError, UserError, printable, report, requiring
from gpt.playground import intervening, looking
from gpt.playground.assets import files
from gpt.playground.catalogue import Catalogue
from gpt.playground.guard import Guard
from gpt.playground.requests import (
    LARGEST_BODY,
    AboutLogits,
    AboutRow,
    AboutTokens,
    AboutTranslation,
    Asked,
    Continuing,
    Translating,
)
from gpt.playground.writing import BusyError, Workshop
from gpt.runs.tensors import serialised
from gpt.session.trained import TrainedRun
from gpt.tasks.decoding.sampling import generate

_PATIENCE = 10.0  # seconds for a request to arrive

# Memory runs out as a MemoryError or, on a GPU, as a RuntimeError.
_FAILURES = (
    UserError, pydantic.ValidationError, HTTPException, OSError, ClientDisconnect, MemoryError, RuntimeError
)  # fmt: skip

AnyAsked = TypeVar("AnyAsked", bound=Asked)


def application(catalogue: Catalogue, names: Collection[str]) -> Starlette:
    """The playground for these runs; it answers only requests to these host names."""
    playground = _Playground(catalogue)
    return Starlette(
        routes=[
            Route("/api/runs", playground.runs),
            Route("/api/runs/{id}", playground.run),
            Route("/api/logits", playground.logits, methods=["POST"]),
            Route("/api/attention", playground.attention, methods=["POST"]),
            Route("/api/inside", playground.inside, methods=["POST"]),
            Route("/api/interventions", playground.interventions, methods=["POST"]),
            Route("/api/text", playground.text, methods=["POST"]),
            Route("/api/translations", playground.translations, methods=["POST"]),
            Route("/api/cross_attention", playground.cross_attention, methods=["POST"]),
            Route("/{path:path}", playground.file),
        ],
        middleware=[Middleware(Guard, names=names)],
        exception_handlers=dict.fromkeys(_FAILURES, _failed),
        lifespan=playground.open,
    )


class _Written(StreamingResponse):
    """A text as it is generated; its seat is freed when it ends or its reader leaves."""

    def __init__(self, pieces: AsyncIterator[str], seat: ExitStack) -> None:
        super().__init__(pieces, media_type="text/plain; charset=utf-8")
        self._seat = seat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self._seat:
            await super().__call__(scope, receive, send)


class _Playground:
    """One method per route."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue, self._workshop = catalogue, Workshop()
        self._files = files()  # in memory: no requested path reaches the disk

    @asynccontextmanager
    async def open(self, _: Starlette) -> AsyncIterator[None]:
        """Stop the worker threads when the server stops."""
        yield
        self._workshop.close()

    async def file(self, request: Request) -> Response:
        """A file of the page."""
        file = self._files.get(request.path_params["path"] or "index.html")
        if file is None:
            raise HTTPException(404, "no such file")
        return Response(file.content, media_type=file.type)

    async def runs(self, _: Request) -> Response:
        """All runs, briefly."""
        return _json(await self._workshop.compute(self._catalogue.briefly))

    async def run(self, request: Request) -> Response:
        """One run, in full."""
        return _json(await self._workshop.compute(self._catalogue.full, request.path_params["id"]))

    async def logits(self, request: Request) -> Response:
        """A run's predictions after each token of a text."""
        asked = await _asked(request, AboutLogits)
        return _tensors({"logits": await self._computed(request, asked, looking.logits, asked.ids, asked.off)})

    async def attention(self, request: Request) -> Response:
        """A run's attention weights over the end of a text."""
        asked = await _asked(request, AboutTokens)
        return _tensors(await self._computed(request, asked, looking.attention, asked.ids))

    async def inside(self, request: Request) -> Response:
        """The values of a run's forward pass for one token of a window."""
        asked = await _asked(request, AboutRow)
        return _tensors(await self._computed(request, asked, looking.inside, asked.ids, asked.row))

    async def interventions(self, request: Request) -> Response:
        """A run's prediction after a text, with parts of the run turned off."""
        asked = await _asked(request, AboutTokens)
        return _tensors(await self._computed(request, asked, intervening.interventions, asked.ids))

    async def text(self, request: Request) -> Response:
        """The continuation of a prompt, streamed."""
        asked = await _asked(request, Continuing)
        with ExitStack() as seat:
            seat.enter_context(self._workshop.seat())
            trained = await self._workshop.compute(self._catalogue.load, asked.run, asked.moment)
            tokenizer = trained.tokenizer
            steps = generate(
                trained.model, tokenizer.encode(asked.prompt), tokens=asked.tokens, seed=asked.seed,
                temperature=asked.temperature, top_k=asked.top_k, top_p=asked.top_p,
            )  # fmt: skip
            pieces = tokenizer.pieces(int(step) for step in steps)
            return _Written(self._workshop.write(pieces), seat.pop_all())

    async def translations(self, request: Request) -> Response:
        """The translations of a sentence."""
        asked, translating = await _asked(request, Translating), _translating()
        options = asked.model_dump(include={"beam", "length_penalty"})
        return _json(await self._computed(request, asked, translating.translations, asked.sentence, **options))

    async def cross_attention(self, request: Request) -> Response:
        """The cross-attention of one translation."""
        asked, translating = await _asked(request, AboutTranslation), _translating()
        arguments = (asked.sentence, asked.target)
        return _tensors(await self._computed(request, asked, translating.cross_attention, *arguments))

    async def _computed(
        self, request: Request, asked: Asked, function: Callable[..., Any], *arguments: Any, **options: Any
    ) -> Any:
        """Call a function with the run and these arguments in a worker thread.

        Raises ClientDisconnect if the client leaves first.
        """

        def compute() -> Any:
            trained: TrainedRun = self._catalogue.load(asked.run, asked.moment)
            return function(trained, *arguments, **options)

        work = asyncio.ensure_future(self._workshop.compute(compute))
        leaving = asyncio.ensure_future(request.receive())  # after the request, only a disconnect
        await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if not work.done():
            work.cancel()
            raise ClientDisconnect
        return await work


def _translating() -> Any:
    """The functions of a run that translates. Raises RequestError if its tokenizer's library is not installed."""
    with requiring("translate"):
        from gpt.playground import translating
    return translating


async def _asked(request: Request, kind: type[AnyAsked]) -> AnyAsked:
    """The parsed request. Raises HTTPException or ValidationError if it is not one that the page would send."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "a request must be application/json")  # which a form on another page cannot send
    body = b""
    try:
        async with asyncio.timeout(_PATIENCE):
            async for chunk in request.stream():
                body += chunk
                if len(body) > LARGEST_BODY:
                    raise HTTPException(413, f"a request must have at most {LARGEST_BODY:,} bytes")
    except TimeoutError:
        raise HTTPException(408, "the request did not arrive in time") from None
    return kind.model_validate_json(body)


def _json(content: object, status: int = 200) -> Response:
    return Response(json.dumps(content), status, media_type="application/json")


def _tensors(tensors: dict[str, Tensor]) -> Response:
    """As safetensors, which page/engines/tensors.js reads."""
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    return Response(serialised(contiguous), media_type="application/octet-stream")


async def _failed(_: Request, error: Exception) -> Response:
    """The error as the line that a script would print."""
    if isinstance(error, HTTPException):
        return _json({"error": error.detail}, error.status_code)
    reported = report(error)
    if reported is None and not isinstance(error, ClientDisconnect):
        raise error
    message, code = reported or ("the client has disconnected", UserError.exit_code)
    status = 503 if isinstance(error, BusyError) else 422 if code == RequestError.exit_code else 500
    return _json({"error": printable(message)}, status)
