"""The playground over HTTP: the page's files, and an API that answers with JSON, tensors or a stream of text."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import ExitStack, asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gpt.base.errors import requiring
from gpt.playground import intervening, looking
from gpt.playground.answers import FAILURES, as_json, as_tensors, failed, read
from gpt.playground.assets import files
from gpt.playground.catalogue import Catalogue
from gpt.playground.guard import Guard
from gpt.playground.requests import (
    LARGEST_TEXT,
    AboutLogits,
    AboutRow,
    AboutTokens,
    AboutTranslation,
    Asked,
    Beginning,
    Changing,
    Continuing,
    Translating,
)
from gpt.playground.trainings import Trainings
from gpt.playground.writing import Workshop
from gpt.session.trained import TrainedRun
from gpt.tasks.decoding.sampling import written


def application(catalogue: Catalogue, names: Collection[str], trainings: Trainings) -> Starlette:
    """The playground for these runs; it answers only requests to these host names."""
    playground = _Playground(catalogue, trainings)
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
            Route("/api/trainings", playground.begin, methods=["POST"]),
            Route("/api/trainings/{id}", playground.change, methods=["POST"]),
            Route("/api/trainings", playground.follow),
            Route("/{path:path}", playground.file),
        ],
        middleware=[Middleware(Guard, names=names)],
        exception_handlers=dict.fromkeys(FAILURES, failed),
        lifespan=playground.open,
    )


_INTERVAL = 0.5  # seconds between two looks at the trainings
_LONGEST = 300.0  # seconds of one stream about them; the page opens the next one by itself


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

    def __init__(self, catalogue: Catalogue, trainings: Trainings) -> None:
        self._catalogue, self._trainings, self._workshop = catalogue, trainings, Workshop()
        self._files = files()  # in memory: no requested path reaches the disk

    @asynccontextmanager
    async def open(self, _: Starlette) -> AsyncIterator[None]:
        """Stop the trainings and the worker threads when the server stops."""
        yield
        self._trainings.close()
        self._workshop.close()

    async def file(self, request: Request) -> Response:
        """A file of the page."""
        file = self._files.get(request.path_params["path"] or "index.html")
        if file is None:
            raise HTTPException(404, "no such file")
        return Response(file.content, media_type=file.type)

    async def runs(self, _: Request) -> Response:
        """All runs, briefly, and the stages that can be trained."""
        listed = await self._workshop.compute(self._catalogue.briefly)
        return as_json(listed | {"stages": Trainings.stages()})

    async def run(self, request: Request) -> Response:
        """One run, in full."""
        return as_json(await self._workshop.compute(self._catalogue.full, request.path_params["id"]))

    async def logits(self, request: Request) -> Response:
        """A run's predictions after each token of a text."""
        asked = await read(request, AboutLogits)
        return as_tensors({"logits": await self._computed(request, asked, looking.logits, asked.ids, asked.off)})

    async def attention(self, request: Request) -> Response:
        """A run's attention weights over the end of a text."""
        asked = await read(request, AboutTokens)
        return as_tensors(await self._computed(request, asked, looking.attention, asked.ids))

    async def inside(self, request: Request) -> Response:
        """The values of a run's forward pass for one token of a window."""
        asked = await read(request, AboutRow)
        return as_tensors(await self._computed(request, asked, looking.inside, asked.ids, asked.row))

    async def interventions(self, request: Request) -> Response:
        """A run's prediction after a text, with parts of the run turned off."""
        asked = await read(request, AboutTokens)
        return as_tensors(await self._computed(request, asked, intervening.interventions, asked.ids))

    async def text(self, request: Request) -> Response:
        """The continuation of a prompt, streamed."""
        asked = await read(request, Continuing)
        with ExitStack() as seat:
            seat.enter_context(self._workshop.seat())
            trained = await self._workshop.compute(self._catalogue.load, asked.run, asked.moment)
            pieces = written(trained.model, trained.tokenizer, trained.tokenizer.encode(asked.prompt), asked)
            return _Written(self._workshop.write(pieces), seat.pop_all())

    async def translations(self, request: Request) -> Response:
        """The translations of a sentence."""
        asked, translating = await read(request, Translating), _translating()
        options = asked.model_dump(include={"beam", "length_penalty"})
        return as_json(await self._computed(request, asked, translating.translations, asked.sentence, **options))

    async def cross_attention(self, request: Request) -> Response:
        """The cross-attention of one translation."""
        asked, translating = await read(request, AboutTranslation), _translating()
        arguments = (asked.sentence, asked.target)
        return as_tensors(await self._computed(request, asked, translating.cross_attention, *arguments))

    async def begin(self, request: Request) -> Response:
        """Queue a training; answers with its id."""
        asked = await read(request, Beginning, LARGEST_TEXT)
        begun = await self._workshop.compute(self._trainings.start, asked.stage, asked.settings, asked.text)
        return as_json({"id": begun})

    async def change(self, request: Request) -> Response:
        """Pause or resume a training."""
        asked = await read(request, Changing)
        change = {"pause": self._trainings.pause, "resume": self._trainings.resume}[asked.to]
        await self._workshop.compute(change, request.path_params["id"])
        return as_json({})

    async def follow(self, _: Request) -> Response:
        """All trainings, again whenever something has changed, as server-sent events."""
        return StreamingResponse(self._events(), media_type="text/event-stream")

    async def _events(self) -> AsyncIterator[str]:
        ends, told = time.monotonic() + _LONGEST, None
        while time.monotonic() < ends:
            found = json.dumps(await self._workshop.compute(self._trainings.listed))
            yield ": still here\n\n" if found == told else f"data: {found}\n\n"
            told = found
            await asyncio.sleep(_INTERVAL)

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
