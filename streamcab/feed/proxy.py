"""One feed made of several: libzmq's own proxy, which copies the messages of publishers to all subscribers.

Subscriptions travel the other way, to every publisher, so each repeats its newest messages to a late joiner. Numbers
and contents stay as they are: publishers of one feed need the same run and different streams. Owns the public socket
and the proxy's thread. Knows nothing of messages.
"""

import struct
import threading
import time
from collections.abc import Sequence

import zmq

from streamcab.feed.curve import ServerKeys
from streamcab.feed.outlet import SEND_QUEUE, outlet

SETTLED_S = 0.05
"""A proxy that has copied nothing for so long has copied everything."""
SETTLE_S = 1.0
"""How long that is waited for at the end."""
_COUNTS = 8
"""Numbers in libzmq's answer to STATISTICS: messages and bytes in and out, of either socket."""


class Proxy:
    """Republishes at one endpoint the messages of others, which may come, go and come back.

    Args:
        endpoint: Where to publish; see `Publisher`.
        sources: The endpoints of the publishers.
        keys: CURVE keys of the public endpoint.
        ipc_group: Unix group that may connect to an `ipc://` endpoint.

    Attributes:
        endpoint: The endpoint as bound.

    Raises:
        FeedError: The endpoint is taken, cannot be bound, or would be open to other machines without keys.
    """

    def __init__(
        self,
        endpoint: str,
        sources: Sequence[str],
        *,
        keys: ServerKeys | None = None,
        ipc_group: str | None = None,
    ) -> None:
        self._context = zmq.Context()
        try:
            queue = SEND_QUEUE * max(len(sources), 1)
            front, self._door = outlet(self._context, endpoint, queue, keys, ipc_group)
            back = self._context.socket(zmq.XSUB)
            back.setsockopt(zmq.LINGER, 0)
            back.setsockopt(zmq.RCVHWM, SEND_QUEUE)
            for source in sources:
                back.connect(source)
            self._control = self._context.socket(zmq.PAIR)
            self._control.setsockopt(zmq.RCVTIMEO, 1_000)
            self._control.bind("inproc://control")
            told = self._context.socket(zmq.PAIR)
            told.connect("inproc://control")
        except Exception:
            self._context.destroy(linger=0)
            raise
        self.endpoint = front.getsockopt_string(zmq.LAST_ENDPOINT)
        self._sockets = front, back, told  # they outlive the thread, until the context closes them
        self._thread = threading.Thread(target=_copy, args=(front, back, told), name="proxy", daemon=True)
        self._thread.start()

    @property
    def refused(self) -> int:
        """Connections that failed in the handshake; see `Publisher`."""
        return self._door.refused

    def poll(self) -> None:
        """Admit clients. Call this ten times a second or more."""
        self._door.poll()

    def close(self, linger_s: float = 0.5) -> None:
        """Copy the messages that the publishers sent before they closed, and close the endpoint.

        Args:
            linger_s: Seconds to wait at most for the messages to leave.
        """
        until, settled, last = time.monotonic() + SETTLE_S, 0.0, -1
        while self._thread.is_alive() and settled < SETTLED_S and time.monotonic() < until:
            time.sleep(SETTLED_S / 5)
            copied = self._copied()
            settled, last = (settled + SETTLED_S / 5, last) if copied == last else (0.0, copied)
        if self._thread.is_alive():
            self._control.send(b"TERMINATE", zmq.NOBLOCK)
            self._thread.join(SETTLE_S)
        self._context.destroy(linger=round(linger_s * 1000))

    def _copied(self) -> int:
        """Count the messages that have gone either way, frames singly."""
        try:
            self._control.send(b"STATISTICS", zmq.NOBLOCK)
            frames = self._control.recv_multipart()
        except zmq.ZMQError:
            return -1
        return sum(struct.unpack("=Q", frame)[0] for frame in frames[:_COUNTS:2])


def _copy(front: zmq.Socket[bytes], back: zmq.Socket[bytes], told: zmq.Socket[bytes]) -> None:
    try:
        zmq.proxy_steerable(front, back, None, told)
    except zmq.ZMQError:  # the context is gone
        return
