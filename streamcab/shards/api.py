"""The allocation of calls over HTTP, for media servers; operators read and drain shards here.

    POST   /calls                 -> 201 {"address", "port", "shard", "token"}, or 503 where there is no room
    DELETE /calls/TOKEN           -> 204: the call will not come
    GET    /shards                -> [{"shard", "state", "rtp", "streams", "most"}]
    POST   /shards/N/drain|resume -> 204

Owns the server's thread. Knows nothing of Ray.
"""

import asyncio
import hmac
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from streamcab.config.address import HostPort, is_loopback
from streamcab.errors import ConfigError, StreamcabError
from streamcab.shards.allocator import Allocator
from streamcab.text import read_text

SHORTEST = 16
"""Characters of a token."""
MOST_CONNECTIONS = 500


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
        ConfigError: Others could reach it without a token, or the token is too short.
        StreamcabError: The address cannot be bound.
    """

    def __init__(self, address: HostPort, token: Path | None) -> None:
        if token is None and not is_loopback(address.host):
            raise ConfigError(
                f"{address} is not a loopback address, so anybody who reaches it could direct calls: add "
                "--allocate-token FILE"
            )
        self._token = _token(token) if token else None
        self._socket = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((address.host, address.port))
            self._socket.listen(128)
        except OSError as error:
            self._socket.close()
            raise StreamcabError(
                f"calls cannot be allocated on {address}: {error.strerror or error}; choose another address"
            ) from None

    @property
    def port(self) -> int:
        """Return the port, which the system may have chosen."""
        return int(self._socket.getsockname()[1])

    def close(self) -> None:
        """Release the address."""
        self._socket.close()

    @contextmanager
    def beside(self, allocator: Allocator) -> Iterator[None]:
        """Serve it in a thread for as long as the context."""
        config = uvicorn.Config(
            application(allocator, self._token),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=1,
        )
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        server = uvicorn.Server(config)
        thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[self._socket])), name="api"
        )
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            thread.join()


def _token(file: Path) -> str:
    try:
        text = read_text(file).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the token in {file}: {error}") from None
    if len(text) < SHORTEST:
        raise ConfigError(f"the token in {file} has {len(text)} characters; {SHORTEST} or more are needed")
    return text
