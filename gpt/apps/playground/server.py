"""The server of the playground, until Ctrl-C."""

import contextlib
import logging
import socket
import threading
import webbrowser
from collections.abc import Collection

import uvicorn

from gpt.apps.playground.app import application
from gpt.apps.playground.catalogue import Catalogue
from gpt.apps.playground.guard import LOCAL
from gpt.base.errors import RequestError

_CONNECTIONS = 300  # at once; more are refused
_GRACE = 1  # seconds for texts that are being written when the server is stopped

log = logging.getLogger(__name__)


def serve(catalogue: Catalogue, *, host: str, port: int, names: Collection[str], opens: bool) -> None:
    """Answer on this address until Ctrl-C; open a browser if `opens`.

    Port 0 picks any free port. Raises RequestError if the address is not available.
    """
    bound = _bound(host, port)
    own = f"[{host}]" if ":" in host else host
    address = f"http://{'127.0.0.1' if host == '0.0.0.0' else own}:{bound.getsockname()[1]}"
    if own not in LOCAL:
        log.warning(f"anybody who can reach {host} can use this playground, and see these runs")
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # not of requests that make no sense
    config = uvicorn.Config(
        application(catalogue, [*LOCAL, own, *names]), log_config=None, access_log=False, server_header=False,
        ws="none", limit_concurrency=_CONNECTIONS, timeout_graceful_shutdown=_GRACE,
    )  # fmt: skip
    print(f"{address} shows your runs; press Ctrl-C to stop", flush=True)
    if opens:
        # In the background, for a browser in the terminal ends only when its user does.
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    with bound, contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[bound])


def _bound(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=256)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RequestError(f"cannot use port {port} of {host} ({reason}): choose another, or port=0 for any") from None
