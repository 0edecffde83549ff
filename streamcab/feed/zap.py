"""The server's end of the CURVE handshake (ZAP, RFC 27): admits clients and counts the refused.

Owns the ZAP socket, on which libzmq asks about each key, and the monitor of the feed's socket. Both are read in the
publisher's thread. Knows nothing of messages; `curve.py` knows which key belongs to whom.
"""

import logging
import time

import zmq

from streamcab.feed.curve import ServerKeys

log = logging.getLogger("streamcab.feed")

HANDSHAKE_MS = 10_000  # after which who connected and says nothing is dropped
QUESTIONS = 256  # are answered in one poll at most,
EVENTS = 1_024  # are counted in one poll at most,
EVENT_QUEUE = 100_000  # and wait for one: a monitor that is full stops all traffic of its socket
WARN_S = 10.0  # between two lines about refusals

_FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)


class Authenticator:
    """Guards `feed`, which must not be bound yet. With `keys`, only clients with a known key are admitted."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], feed: zmq.Socket[bytes], keys: ServerKeys | None
    ) -> None:
        self.refused = 0  # connections that ended in the handshake
        self._keys = keys
        self._warned = -WARN_S
        self._monitor = context.socket(zmq.PAIR)
        self._monitor.setsockopt(zmq.RCVHWM, EVENT_QUEUE)
        feed.monitor("inproc://authenticator", _FAILED)
        self._monitor.connect("inproc://authenticator")
        feed.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        self._zap: zmq.Socket[bytes] | None = None
        if keys is not None:
            self._zap = context.socket(zmq.ROUTER)
            self._zap.bind("inproc://zeromq.zap.01")
            feed.setsockopt(zmq.ZAP_DOMAIN, b"feed")
            feed.setsockopt(
                zmq.ZAP_ENFORCE_DOMAIN, 1
            )  # else libzmq admits every client while no authenticator answers
            feed.setsockopt(zmq.CURVE_SERVER, 1)
            feed.setsockopt(zmq.CURVE_SECRETKEY, keys.pair.secret)

    def poll(self) -> None:
        """Answer pending requests and count refusals; never blocks."""
        if self._zap is not None and self._keys is not None:
            self._answer(self._zap, self._keys)
        for _ in range(EVENTS):
            try:
                self._monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.ZMQError:
                break
            self.refused += 1

    def _answer(self, zap: zmq.Socket[bytes], keys: ServerKeys) -> None:
        for number in range(QUESTIONS):
            try:
                route, empty, version, question, _domain, address, _identity, mechanism, *credentials = (
                    zap.recv_multipart(zmq.NOBLOCK)
                )
            except zmq.ZMQError:
                break
            if number == 0:
                keys.refresh()
            name = keys.name(credentials[0]) if mechanism == b"CURVE" and len(credentials) == 1 else None
            verdict = (b"400", b"unknown key", b"") if name is None else (b"200", b"OK", name.encode())
            try:
                zap.send_multipart([route, empty, version, question, *verdict, b""], zmq.NOBLOCK)
            except zmq.ZMQError:  # who asked is gone
                continue
            if name is None:
                self._warn(address.decode("ascii", "replace"))

    def _warn(self, address: str) -> None:
        now = time.monotonic()
        if now - self._warned >= WARN_S:
            self._warned = now
            log.warning("the feed refused an unknown key, from %s", address or "this machine")
