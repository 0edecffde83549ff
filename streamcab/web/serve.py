"""The page over HTTP: the feed read on this thread, browsers answered on another.

Owns who may bind which address. Knows nothing of what is served.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from streamcab.config.address import HostPort, is_loopback
from streamcab.errors import ConfigError
from streamcab.extras import missing
from streamcab.feed import Subscriber
from streamcab.web.http import listening, served

if TYPE_CHECKING:
    from streamcab.web.hub import Hub


@dataclass(frozen=True)
class Access:
    """How the page may be reached: names of this host, files of a token and of TLS, and the store to show."""

    hosts: tuple[str, ...] = ()
    token: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    store: str | None = None


def bind(address: HostPort, access: Access) -> socket.socket:
    """Open a listening socket. ConfigError: others could reach it without a token. StreamcabError: it is taken."""
    if (access.cert is None) != (access.key is None):
        raise ConfigError("--web-cert and --web-key go together: the certificate, and its key")
    if access.token is None and not is_loopback(address.host):
        raise ConfigError(
            f"{address} is not a loopback address, so anybody who reaches it could read the page: add --web-token "
            "FILE, or reach it through `ssh -L`"
        )
    return listening(address, "the page cannot be served")


def url(bound: socket.socket, access: Access) -> str:
    """Return the address of the page for a browser."""
    host, port = bound.getsockname()[:2]
    shown = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"{'https' if access.cert else 'http'}://{shown}:{port}/"


def serve(
    feed: Subscriber, bound: socket.socket, access: Access, stop: threading.Event, ready: Callable[[], None]
) -> None:
    """Serve the page of `feed` until `stop`."""
    try:
        from streamcab.web.hub import Hub

        hub = Hub()
        with answering(hub, bound, access, stop):
            ready()
            hub.run(feed, stop)
    except ImportError as error:
        raise missing((error.name or "starlette").partition(".")[0], "the page") from None


@contextmanager
def answering(hub: "Hub", bound: socket.socket, access: Access, stop: threading.Event) -> Iterator[None]:
    """Answer browsers about `hub` in a thread for as long as the context; sets `stop` if that ends by itself."""
    from streamcab.web.app import application
    from streamcab.web.guard import read_token

    with ExitStack() as around:
        past = None
        if access.store:
            from streamcab.web.past import Past

            past = around.enter_context(Past(access.store))
        app = application(hub, access.hosts, read_token(access.token) if access.token else None, past)
        around.enter_context(
            served(app, bound, "page", cert=access.cert, key=access.key, over=stop.set, closing=hub.close)
        )
        yield
