"""The playground over HTTP: the page's files, and an API that answers with JSON, tensors or a stream of text."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from gpt.base.errors import require_extra
from gpt.playground import inspect
from gpt.playground.assets import files, media_type
from gpt.playground.requests import (
    FAILURES,
    LARGEST_TEXT,
    AboutLogits,
    AboutRow,
    AboutTokens,
    AboutTranslation,
    Beginning,
    Changing,
    Continuing,
    RunRequest,
    Translating,
    as_json,
    failed,
    read,
)
from gpt.playground.run_list import RunList
from gpt.playground.sample import WorkerPool
from gpt.playground.trainings import Trainings
from gpt.runs.tensors import serialised
from gpt.session.trained import TrainedRun
from gpt.tasks.decoding.sampling import generate_text

_INTERVAL = 0.5  # seconds between two looks at the trainings


def application(run_list: RunList, trainings: Trainings, is_stopping: Callable[[], bool]) -> Starlette:
    """The playground for these runs. It ends its streams about trainings when its server `is_stopping`."""
    playground = _Playground(run_list, trainings, is_stopping)
    answers: dict[str, Callable[..., Any]] = {
        **{name: partial(playground.computed, kind, function) for name, (kind, function) in _COMPUTED.items()},
        "text": playground.text,
        "trainings": playground.begin,
        "trainings/{id}": playground.change,
    }
    return Starlette(
        routes=[
            *(Route(f"/api/{name}", answer, methods=["POST"]) for name, answer in answers.items()),
            Route("/api/runs", playground.runs),
            Route("/api/runs/{id}", playground.run),
            Route("/api/trainings", playground.follow),
            Route("/{path:path}", playground.file),
        ],
        exception_handlers=dict.fromkeys(FAILURES, failed),
        lifespan=playground.open,
    )


def _translating(name: str, trained: TrainedRun, **asked: Any) -> Any:
    """Call a function of translating.py. Raises RequestError if its tokenizer's library is not installed."""
    with require_extra("translate"):
        from gpt.playground import translating
    return getattr(translating, name)(trained, **asked)


# By address below /api/: a request, and the function of a run that answers it, with the request's fields as arguments.
_COMPUTED: Mapping[str, tuple[type[RunRequest], Callable[..., Any]]] = {
    "logits": (AboutLogits, lambda trained, **asked: {"logits": inspect.logits(trained, **asked)}),
    "attention": (AboutTokens, inspect.attention),
    "inside": (AboutRow, inspect.inside),
    "interventions": (AboutTokens, inspect.interventions),
    "translations": (Translating, partial(_translating, "translations")),
    "cross_attention": (AboutTranslation, partial(_translating, "cross_attention")),
}


class _Playground:
    """One method per route, and one for all functions of a run."""

    def __init__(self, run_list: RunList, trainings: Trainings, is_stopping: Callable[[], bool]) -> None:
        self._run_list, self._trainings, self._workers = run_list, trainings, WorkerPool()
        self._is_stopping = is_stopping
        self._files = files()  # in memory: no requested path reaches the disk

    @asynccontextmanager
    async def open(self, _: Starlette) -> AsyncIterator[None]:
        """Stop the worker threads when the server stops."""
        yield
        self._workers.close()

    async def file(self, request: Request) -> Response:
        """A file of the page."""
        path = request.path_params["path"] or "index.html"
        if path not in self._files:
            raise HTTPException(404, "no such file")
        return Response(self._files[path], media_type=media_type(path))

    async def runs(self, _: Request) -> Response:
        """All runs, briefly, and the stages that can be trained."""
        listed = await self._workers.compute(self._run_list.briefly)
        return as_json(listed | {"stages": Trainings.stages()})

    async def run(self, request: Request) -> Response:
        """One run, in full."""
        return as_json(await self._workers.compute(self._run_list.full, request.path_params["id"]))

    async def computed(self, kind: type[RunRequest], function: Callable[..., Any], request: Request) -> Response:
        """The result of a function of `_COMPUTED`, from a worker thread, as JSON or safetensors."""
        asked = await read(request, kind)

        def compute() -> Any:
            trained = self._run_list.load(asked.run, asked.moment)
            return function(trained, **asked.model_dump(exclude={"run", "moment"}))

        found = await self._workers.compute(compute)
        if kind is Translating:
            return as_json(found)
        return Response(serialised(found), media_type="application/octet-stream")

    async def text(self, request: Request) -> Response:
        """The continuation of a prompt, streamed."""
        asked = await read(request, Continuing)
        trained = await self._workers.compute(self._run_list.load, asked.run, asked.moment)
        pieces = generate_text(trained.model, trained.tokenizer, trained.tokenizer.encode(asked.prompt), asked)
        return StreamingResponse(self._workers.write(pieces), media_type="text/plain; charset=utf-8")

    async def begin(self, request: Request) -> Response:
        """Queue a training, and answer with its id."""
        asked = await read(request, Beginning, LARGEST_TEXT)
        begun = await self._workers.compute(self._trainings.start, asked.stage, asked.settings, asked.text, asked.name)
        return as_json({"id": begun})

    async def change(self, request: Request) -> Response:
        """Pause or resume a training."""
        asked = await read(request, Changing)
        change = {"pause": self._trainings.pause, "resume": self._trainings.resume}[asked.to]
        await self._workers.compute(change, request.path_params["id"])
        return as_json({})

    async def follow(self, _: Request) -> Response:
        """All trainings as server-sent events, one for each change."""
        return StreamingResponse(self._events(), media_type="text/event-stream")

    async def _events(self) -> AsyncIterator[str]:
        told = None
        while not self._is_stopping():
            found = json.dumps(await self._workers.compute(self._trainings.listed))
            if found != told:
                yield f"data: {found}\n\n"
            told = found
            await asyncio.sleep(_INTERVAL)
