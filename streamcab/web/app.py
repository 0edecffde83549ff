"""The page's requests: its own files, the events of the wall, one call, and the history of a store.

Knows nothing of access (`guard.py`) and of the socket (`serve.py`).
"""

import hashlib
from collections.abc import Callable
from importlib import resources
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from streamcab.web.guard import Guard
from streamcab.web.hub import Hub
from streamcab.web.wall import encode

if TYPE_CHECKING:
    from streamcab.web.past import Past

MOST_BROWSERS = 200
KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def application(
    hub: Hub, hosts: tuple[str, ...] = (), token: str | None = None, past: "Past | None" = None
) -> ASGIApp:
    """Return the page of `hub`, and of the stored calls in `past`, for those whom the guard lets in."""
    files = _files()

    def page(request: Request) -> Response:
        return files["index.html"](request)

    def static(request: Request) -> Response:
        found = files.get(request.path_params["name"])
        return found(request) if found else _missing()

    def health(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def live(_: Request) -> Response:
        if hub.browsers >= MOST_BROWSERS:
            return PlainTextResponse(
                f"{MOST_BROWSERS} browsers look on already.\n", 503, {"Retry-After": "10"}
            )
        return StreamingResponse(
            hub.events(),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    def call(request: Request) -> Response:
        found = hub.call(request.path_params["id"])
        return _json(found) if found else _missing()

    def about(_: Request) -> Response:
        return _json({"history": past is not None})

    routes = [
        Route("/", page),
        Route("/static/{name}", static),
        Route("/health", health),
        Route("/api/about", about),
        Route("/api/live", live),
        Route("/api/call/{id:int}", call),
        *(past.routes() if past else []),
    ]
    return Guard(Starlette(routes=routes), hosts, token)


def _files() -> dict[str, Callable[[Request], Response]]:
    """Make an answer for each file of the page; they are read once, so a request never becomes a path."""
    answers = {}
    for file in (resources.files("streamcab") / "web" / "static").iterdir():
        kind = KINDS.get(file.name.rpartition(".")[2])
        if kind is not None:
            answers[file.name] = _file(file.read_bytes(), kind)
    return answers


def _file(body: bytes, kind: str) -> Callable[[Request], Response]:
    tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}

    def answer(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type=kind, headers=headers)

    return answer


def _json(data: Any) -> Response:
    return Response(encode(data), media_type="application/json")


def _missing() -> Response:
    return JSONResponse({"error": "not here"}, 404)
