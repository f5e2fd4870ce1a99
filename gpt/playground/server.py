"""The server of the playground, and the check of who may send requests."""

import contextlib
import logging
import socket
import threading
import webbrowser
from collections.abc import Collection

import uvicorn
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpt.base.errors import RequestError
from gpt.playground.app import application
from gpt.playground.assets import POLICY
from gpt.playground.run_list import RunList
from gpt.playground.trainings import Trainings

LOCAL = ("127.0.0.1", "localhost", "[::1]")
_HEADERS = {
    "content-security-policy": f"{POLICY}; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}

_GRACE = 1  # seconds for texts that are being written when the server is stopped

log = logging.getLogger(__name__)


def serve(
    run_list: RunList, trainings: Trainings, *, host: str, port: int, names: Collection[str], opens: bool
) -> None:
    """Answer on this address until Ctrl-C; open a browser if `opens`. Trainings follow this process: they save and end.

    Port 0 picks any free port. Raises RequestError if the address is not available.
    """
    bound = _bound(host, port)
    own = f"[{host}]" if ":" in host else host
    address = f"http://{'127.0.0.1' if host == '0.0.0.0' else own}:{bound.getsockname()[1]}"
    if own not in LOCAL:
        log.warning(f"anybody who can reach {host} can use this playground, and see these runs")
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # no messages about malformed requests
    server = server_of(run_list, trainings, [*LOCAL, own, *names])
    print(f"{address} shows your runs; press Ctrl-C to stop", flush=True)
    if opens:
        # In the background, because a browser in the terminal runs until its user closes it.
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    with bound, contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[bound])


def server_of(run_list: RunList, trainings: Trainings, names: Collection[str]) -> uvicorn.Server:
    """The playground's server, under these host names alone."""
    app = _Guard(application(run_list, trainings, is_stopping=lambda: server.should_exit), names)
    server = uvicorn.Server(
        uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, ws="none", timeout_graceful_shutdown=_GRACE
        )
    )
    return server


class _Guard:
    """Passes requests for one of `names` on to `app` if the page itself sends them, and adds the security headers.

    Every page open in the browser can reach a server on 127.0.0.1. It could send requests (cross-site request forgery),
    or give the machine a host name of its own and read the answers (DNS rebinding). So the Host header must be one of
    `names`, and the Origin header, if present, must match it. Starlette's TrustedHostMiddleware checks only the host,
    and its answer would not say how to add a name.
    """

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app, self._names = app, {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # server start-up and shutdown
            return await self._app(scope, receive, send)

        async def send_confined(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        refused = self._refusal(scope)
        app = self._app if refused is None else JSONResponse({"error": refused}, 403)
        return await app(scope, receive, send_confined)

    def _refusal(self, scope: Scope) -> str | None:
        given = Headers(scope=scope)
        hosts, origins = ([value.lower() for value in given.getlist(name)] for name in ("host", "origin"))
        if len(hosts) != 1 or _without_port(hosts[0]) not in self._names:
            return "this server does not have the requested host name: names=[NAME] adds one"
        # A proxy may speak https with the browser.
        if any(origin.partition("://")[2] != hosts[0] for origin in origins):
            return "this request comes from another page"
        return None


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() and not name.endswith(":") else host


def _bound(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=256)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RequestError(f"cannot use port {port} of {host} ({reason}): choose another, or port=0 for any") from None
