"""Request filter: only the page itself may send requests, and only to the server's own host names.

Every page open in the browser can reach a server on 127.0.0.1. It could send requests (cross-site request forgery), or
give the machine a host name of its own and read the answers (DNS rebinding). So the Host header must be one of the
server's names, and the Origin header, if present, must match it. Starlette's TrustedHostMiddleware checks only the
host, and its answer would not say how to add a name.
"""

from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpt.playground.assets import POLICY

LOCAL = ("127.0.0.1", "localhost", "[::1]")

_HEADERS = {
    "content-security-policy": f"{POLICY}; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}


class Guard:
    """Pass requests for one of `names` on to `app`, and add the security headers."""

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app, self._names = app, {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
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
        if any(origin != f"http://{hosts[0]}" for origin in origins):
            return "this request comes from another page"
        return None


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() and not name.endswith(":") else host
