"""An application served over HTTP: the listening socket, and the thread that answers.

Knows nothing of what is served, or of who may ask.
"""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from streamcab.config.address import HostPort
from streamcab.errors import StreamcabError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

END_S = 2
"""For which answers that are under way may go on at the end."""
MOST_CONNECTIONS = 500


def listening(address: HostPort, trouble: str) -> socket.socket:
    """Return a socket that listens at an address. StreamcabError, which begins with `trouble`: it cannot."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address.host, address.port))
        bound.listen(128)
    except OSError as error:
        bound.close()
        raise StreamcabError(
            f"{trouble} on {address}: {error.strerror or error}; choose another address"
        ) from None
    return bound


@contextmanager
def served(
    app: "ASGIApp",
    bound: socket.socket,
    name: str,
    *,
    cert: Path | None = None,
    key: Path | None = None,
    over: Callable[[], object] = lambda: None,
    closing: Callable[[], object] = lambda: None,
) -> Iterator[None]:
    """Serve an application in a thread for as long as the context.

    Args:
        app: What answers.
        bound: The listening socket; its owner closes it.
        name: Name of the thread.
        cert, key: Files for TLS.
        over: Is called by the thread when it ends, by itself too.
        closing: Is called before the thread is asked to end.

    Raises:
        StreamcabError: It ended by itself, at the end of the context.
    """
    import uvicorn

    config = uvicorn.Config(
        app,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=END_S,
        ssl_certfile=cert,
        ssl_keyfile=key,
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    server = uvicorn.Server(config)
    failed: list[BaseException] = []

    def answer() -> None:
        try:
            asyncio.run(server.serve(sockets=[bound]))
        except BaseException as error:
            failed.append(error)
        finally:
            over()

    thread = threading.Thread(target=answer, name=name)
    thread.start()
    try:
        yield
    finally:
        closing()
        server.should_exit = True
        thread.join()
    if failed:
        raise StreamcabError(f"the {name} cannot be served: {failed[0]}")
