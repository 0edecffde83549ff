"""The page beside a daemon: a process of its own, so that browsers never take the inference thread's time.

The daemon binds the socket, so a wrong address is said at once, and browsers wait while a page that died is started
again. The child reads its settings from standard input, and ends when that closes, even if the daemon was killed.
"""

import json
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from streamcab.config.address import HostPort
from streamcab.extras import missing
from streamcab.feed import Subscriber
from streamcab.feed.curve import ClientKeys, Pair
from streamcab.web.serve import Access, bind, serve, url

log = logging.getLogger("streamcab.web")

AGAIN_S = 5.0
"""Before a page that died is started again."""
END_S = 5.0


class Page:
    """A page that can be served beside a daemon: the socket is bound, so its address is known.

    Raises:
        ConfigError, StreamcabError, InstallError: It cannot be.
    """

    def __init__(self, address: HostPort, access: Access) -> None:
        for package in ("starlette", "uvicorn"):
            if find_spec(package) is None:
                raise missing(package, "--web")
        if access.token is not None:
            from streamcab.web.guard import read_token

            read_token(access.token)
        self._access = access
        self._socket = bind(address, access)
        self.url = url(self._socket, access)

    @contextmanager
    def beside(self, endpoint: str, keys: ClientKeys | None) -> Iterator[None]:
        """Serve it from a process of its own for as long as the context."""
        over = threading.Event()
        running: list[subprocess.Popen[bytes]] = []
        lock = threading.Lock()

        def keep() -> None:
            while not over.is_set():
                with lock:
                    if over.is_set():
                        return
                    child = self._start(endpoint, keys)
                    running[:] = [child]
                code = child.wait()
                if not over.is_set():
                    log.error("the page ended with code %d; it is started again", code)
                    over.wait(AGAIN_S)

        thread = threading.Thread(target=keep, name="page")
        thread.start()
        try:
            yield
        finally:
            with lock:
                over.set()
            for child in running:
                _end(child)
            thread.join()
            self._socket.close()

    def _start(self, endpoint: str, keys: ClientKeys | None) -> subprocess.Popen[bytes]:
        a, handle = self._access, self._socket.fileno()
        child = subprocess.Popen(
            [sys.executable, "-m", "streamcab.web"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[handle],
            start_new_session=True,  # a terminal's Ctrl-C ends the daemon, which ends the page
        )
        told = {
            "endpoint": endpoint,
            "socket": handle,
            "keys": keys and [k.decode("ascii") for k in (keys.own.public, keys.own.secret, keys.server)],
            "hosts": a.hosts,
            "files": [str(f.absolute()) if f else None for f in (a.token, a.cert, a.key)],
            "store": a.store,
        }
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps(told).encode() + b"\n")
            child.stdin.flush()
        except OSError:  # it ended at once, which `wait` finds
            pass
        return child


def _end(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    with suppress(OSError):
        child.stdin.close()
    try:
        child.wait(END_S)
    except subprocess.TimeoutExpired:
        child.kill()


def main(told: IO[bytes]) -> None:
    """Be the child: settings from the first line of `told`, and the end when it closes."""
    given = json.loads(told.readline())
    token, cert, key = (Path(f) if f else None for f in given["files"])
    access = Access(tuple(given["hosts"]), token, cert, key, given["store"])
    keys = None
    if given["keys"]:
        public, secret, server = (k.encode("ascii") for k in given["keys"])
        keys = ClientKeys(Pair(public, secret), server)
    stop = threading.Event()

    def wait() -> None:
        told.read()
        stop.set()

    threading.Thread(target=wait, name="parent", daemon=True).start()
    with Subscriber(given["endpoint"], keys=keys) as feed, socket.socket(fileno=given["socket"]) as bound:
        serve(feed, bound, access, stop, lambda: None)
