"""Training over HTTP: begin, pause and resume a run of train.py, and follow all of them in a stream of events."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from gpt.playground.answers import as_json, read
from gpt.playground.requests import LARGEST_TEXT, Beginning, Changing
from gpt.playground.trainings import Trainings
from gpt.playground.writing import Workshop

_INTERVAL = 0.5  # seconds between two looks at the trainings
_LONGEST = 300.0  # seconds of one stream; the page opens the next one by itself


class TrainingRoutes:
    """One method per route."""

    def __init__(self, trainings: Trainings, workshop: Workshop) -> None:
        self._trainings, self._workshop = trainings, workshop
        self.routes = [
            Route("/api/trainings", self.begin, methods=["POST"]),
            Route("/api/trainings/{id}", self.change, methods=["POST"]),
            Route("/api/trainings", self.follow),
        ]

    def close(self) -> None:
        """Stop the trainings."""
        self._trainings.close()

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
