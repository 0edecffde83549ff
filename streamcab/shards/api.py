"""The allocation of calls over HTTP, for media servers; operators read and drain shards here.

    POST   /calls                 -> 201 {"address", "port", "shard", "token"}, or 503 where there is no room
    DELETE /calls/TOKEN           -> 204: the call will not come
    GET    /shards                -> [{"shard", "state", "rtp", "streams", "most"}]
    POST   /shards/N/drain|resume -> 204

Knows nothing of Ray.
"""

import hmac
import time
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from streamcab.config.address import HostPort, is_loopback
from streamcab.errors import ConfigError
from streamcab.shards.allocator import Allocator
from streamcab.web.guard import read_token
from streamcab.web.http import listening, served


def application(allocator: Allocator, token: str | None) -> ASGIApp:
    """Return the API of an allocator; with `token`, for those who send it as `Authorization: Bearer`."""

    async def allocate(_: Request) -> Response:
        given = allocator.allocate(time.monotonic())
        if given is None:
            return JSONResponse({"error": "no shard has room"}, 503, {"Retry-After": "1"})
        return JSONResponse(asdict(given), 201)

    async def release(request: Request) -> Response:
        return Response(status_code=204 if allocator.release(request.path_params["token"]) else 404)

    async def shards(_: Request) -> Response:
        rows = [
            {"shard": p.index, "state": p.said, "rtp": p.rtp, "streams": p.streams, "most": p.most}
            for p in allocator.places
        ]
        return JSONResponse(rows)

    async def drain(request: Request) -> Response:
        on = request.url.path.endswith("/drain")
        return Response(status_code=204 if allocator.drain(request.path_params["index"], on) else 404)

    app = Starlette(
        routes=[
            Route("/calls", allocate, methods=["POST"]),
            Route("/calls/{token}", release, methods=["DELETE"]),
            Route("/shards", shards),
            Route("/shards/{index:int}/drain", drain, methods=["POST"]),
            Route("/shards/{index:int}/resume", drain, methods=["POST"]),
        ]
    )
    return app if token is None else _Guard(app, token)


class _Guard:
    """Asks for the token before anything else."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._wanted = app, f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = dict(scope.get("headers", [])).get(b"authorization", b"")
        if scope["type"] == "http" and not hmac.compare_digest(given, self._wanted):
            refusal = Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)


class Api:
    """The API at an address, bound already.

    Raises:
        ConfigError: Others could reach it without a token, or it is no good; see `read_token`.
        StreamcabError: The address cannot be bound.
    """

    def __init__(self, address: HostPort, token: Path | None) -> None:
        if token is None and not is_loopback(address.host):
            raise ConfigError(
                f"{address} is not a loopback address, so anybody who reaches it could direct calls: add "
                "--allocate-token FILE"
            )
        self._token = read_token(token) if token else None
        self._socket = listening(address, "calls cannot be allocated")

    @property
    def port(self) -> int:
        """Return the port, which the system may have chosen."""
        return int(self._socket.getsockname()[1])

    def close(self) -> None:
        """Release the address."""
        self._socket.close()

    def beside(self, allocator: Allocator) -> AbstractContextManager[None]:
        """Serve it in a thread for as long as the context."""
        return served(application(allocator, self._token), self._socket, "allocation of calls")
