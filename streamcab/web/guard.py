"""Access to the page: the checks before every answer, and the headers on it.

Owns tokens, names of hosts and the policy for browsers. Nothing here changes anything, so only GET and HEAD pass, and
a foreign page has nothing to forge. Knows nothing of what is served.
"""

import hashlib
import hmac
import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamcab.errors import ConfigError
from streamcab.text import read_text

COOKIE = "streamcab"
SHORTEST = 16
"""Characters of a token."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """Around an ASGI application: checks the host, the method, where a request comes from, and the token.

    Args:
        app: What answers those who may ask.
        hosts: Names by which browsers may call this server, beside localhost and any address.
        token: What a reader must show; None: whoever reaches the server may read.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = (), token: str | None = None) -> None:
        self._app = app
        self._hosts = {"localhost", *(host.lower().rstrip(".") for host in hosts)}
        self._token = token
        self._cookie = (
            None if token is None else hashlib.sha256(b"streamcab page\0" + token.encode()).hexdigest()
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have it answered."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._known(host):
            # A name that somebody else pointed at this address (DNS rebinding) would make it their origin.
            return PlainTextResponse(
                "This page is not served under that name. Use its address, or start it with --web-host NAME.\n",
                421,
            )
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("Only GET is answered.\n", 405, {"Allow": "GET, HEAD"})
        foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site")
        if foreign and headers.get("sec-fetch-mode") != "navigate":
            return PlainTextResponse("Not for other sites.\n", 403)
        return None if self._token is None else self._without_token(scope, headers)

    def _known(self, host: str) -> bool:
        name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
        name = (name if port.isdecimal() and name else host).lower().rstrip(".")
        if name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True

    def _without_token(self, scope: Scope, headers: Headers) -> Response | None:
        assert self._token is not None
        assert self._cookie is not None
        if _same(_cookie(headers.get("cookie", "")), self._cookie):
            return None
        bearer = headers.get("authorization", "")
        if bearer[:7].lower() == "bearer " and _same(bearer[7:].strip(), self._token):
            return None
        given = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=20).get("token", [""])[0]
        if scope["path"] == "/" and given and _same(given, self._token):
            answer = RedirectResponse("/", 303)
            # Lax: a link from a message to a colleague opens; nothing here can be changed by a foreign page.
            answer.set_cookie(
                COOKIE, self._cookie, httponly=True, samesite="lax", secure=scope["scheme"] == "https"
            )
            return answer
        return PlainTextResponse(
            "A token is needed: open this address once with /?token=TOKEN behind it. TOKEN is the content of the "
            "file that --web-token names on the server.\n",
            401,
            {"WWW-Authenticate": "Bearer"},
        )


def read_token(path: Path) -> str:
    """Read the token in a file.

    Raises:
        ConfigError: It cannot be read, others could read it, or it is short.
    """
    try:
        text, status = read_text(path).strip(), path.stat()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read the token in {path}: {getattr(error, 'strerror', None) or error}"
        ) from None
    if status.st_uid == os.geteuid() and status.st_mode & 0o077:
        raise ConfigError(f"{path} can be read by others: chmod 600 it")
    if len(text) < SHORTEST or not text.isascii() or not text.isprintable() or " " in text:
        raise ConfigError(
            f"the token in {path} must be {SHORTEST} or more ASCII characters without spaces: make one with "
            f"`openssl rand -hex 16 > {path}`"
        )
    return text


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


def _cookie(header: str) -> str:
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return ""
