"""Watches a subscriber's connection to a feed, and explains in words why it was refused.

Owns the keys on the subscriber's socket and its monitor; without the monitor a refusal would be mere silence. libzmq
abandons a connection that has sent something invalid; it is made anew here. Knows nothing of messages.
"""

import math
import struct
import time

import zmq

from streamcab.errors import FeedError
from streamcab.feed.curve import ClientKeys

CLOSINGS = 10  # handshakes broken off in a row, and none succeeded before: the server key is wrong
EVENT_QUEUE = 10_000  # a monitor that is full stops all traffic of its socket

GIVEN_UP_S = 2.0  # a connection that broke and is not back by then may never be tried again by libzmq

_MISMATCH = 0x11000002  # PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH: one side has keys and the other has none
_FRAME = struct.Struct("=Hi")  # number and value of an event; pyzmq's own parser would import asyncio
_EVENTS = (
    zmq.EVENT_CONNECTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)


class ConnectionMonitor:
    """Monitors `feed`, which must not be connected to `endpoint` yet."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        feed: zmq.Socket[bytes],
        endpoint: str,
        keys: ClientKeys | None,
    ) -> None:
        self._feed, self._endpoint = feed, endpoint
        self._keys = keys
        self._broken = math.inf  # monotonic seconds
        self.renewed = 0  # connections that broke, and were not back in time
        self._judged = True  # whether it is known how the newest connection fared
        self._known = False  # whether any handshake succeeded
        self._closed = 0  # handshakes broken off without a reason before that
        self._refusal = ""
        if keys is not None:
            feed.setsockopt(zmq.CURVE_PUBLICKEY, keys.own.public)
            feed.setsockopt(zmq.CURVE_SECRETKEY, keys.own.secret)
            feed.setsockopt(zmq.CURVE_SERVERKEY, keys.server)
        self.socket = context.socket(zmq.PAIR)  # readable when there is something to check
        self.socket.setsockopt(zmq.RCVHWM, EVENT_QUEUE)
        feed.monitor("inproc://handshake", _EVENTS)
        self.socket.connect("inproc://handshake")

    def check(self) -> float:
        """Read the events of the connection; call it when there is no message to read.

        Returns the seconds after which to call it again at the latest. FeedError once the feed has refused for good:
        libzmq gives up then.
        """
        while True:
            try:
                event, value = _FRAME.unpack(self.socket.recv_multipart(zmq.NOBLOCK)[0])
            except zmq.ZMQError:
                break
            if event in (zmq.EVENT_CONNECTED, zmq.EVENT_DISCONNECTED):
                self._broken = time.monotonic() if event == zmq.EVENT_DISCONNECTED else math.inf
            self._refusal = self._judge(event, value) or self._refusal
        if self._refusal:
            raise FeedError(self._refusal)
        left = self._broken + GIVEN_UP_S - time.monotonic()
        if left <= 0:
            self._broken, left = math.inf, math.inf
            self.renewed += 1
            self._feed.disconnect(self._endpoint)
            self._feed.connect(self._endpoint)
        return left

    def _judge(self, event: int, value: int) -> str:
        """Return why the connection cannot succeed after this event; empty while it can."""
        judged, self._judged = self._judged, event != zmq.EVENT_CONNECTED
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._known = True
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH and self._keys is not None:
            return (
                f"{self._endpoint} does not know the key {self._keys.own.public.decode()}: whoever runs that "
                "feed must put the file of the public key into its folder `allow`"
            )
        elif event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL and value == _MISMATCH:
            if self._keys is not None:
                return f"{self._endpoint} is a feed without keys: leave --key and --server-key out"
            return (
                f"{self._endpoint} serves only those who have a key: make one with `streamcab keys new NAME`,"
                " let whoever runs that feed allow it, and give --key and --server-key"
            )
        elif event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            return f"{self._endpoint} is no feed, or a damaged one: the handshake failed with {value:#x}"
        elif event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL and self._keys is not None and not self._known:
            self._closed += 1  # one may be a daemon that is ending, or a tunnel to none
            if self._closed >= CLOSINGS:
                return (
                    f"{self._endpoint} breaks every handshake off: the server key that was given is not its "
                    "own, or nothing runs behind that address"
                )
        elif event == zmq.EVENT_DISCONNECTED and not judged and self._keys is not None:
            return f"{self._endpoint} is no feed: what answers there does not speak ZeroMQ"
        return ""
