"""A publisher on another machine, heard here: its messages go on to subscribers of a local endpoint.

Subscriptions travel back, so it repeats its newest messages to late joiners; the newest of each topic is kept here too,
for when it is gone. Owns a thread. Knows nothing of messages, except which status ends a stream.
"""

import threading

import zmq

from streamcab.feed.curve import ClientKeys
from streamcab.feed.endpoint import prepare
from streamcab.feed.outlet import MAX_SUBSCRIPTION, SEND_QUEUE
from streamcab.feed.subscriber import MAX_BODY
from streamcab.message import VERSION

POLL_MS = 100
_ENDED = b'"state":"ended"'


class Relay:
    """Relays the messages of `source`, to which `keys` give access, to `endpoint`, an ipc address.

    Attributes:
        words: The newest message of each topic of a stream that has not ended. Complete once `close` has returned.
    """

    def __init__(self, source: str, keys: ClientKeys, endpoint: str) -> None:
        self.words: dict[bytes, bytes] = {}
        self._context = zmq.Context()
        self._back = self._context.socket(zmq.XSUB)
        prepare(self._back, source)
        self._back.setsockopt(zmq.RCVHWM, SEND_QUEUE)
        self._back.setsockopt(zmq.MAXMSGSIZE, MAX_BODY)
        self._back.setsockopt(zmq.CURVE_PUBLICKEY, keys.own.public)
        self._back.setsockopt(zmq.CURVE_SECRETKEY, keys.own.secret)
        self._back.setsockopt(zmq.CURVE_SERVERKEY, keys.server)
        self._front = self._context.socket(zmq.XPUB)
        self._front.setsockopt(zmq.XPUB_VERBOSE, 1)
        self._front.setsockopt(zmq.SNDHWM, SEND_QUEUE)
        self._front.setsockopt(zmq.MAXMSGSIZE, MAX_SUBSCRIPTION)
        self._front.bind(endpoint)
        self._back.connect(source)
        self._back.send(b"\x01" + VERSION.encode() + b"/")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()

    def close(self, linger_s: float = 0.0) -> None:
        """Stop relaying."""
        self._over.set()
        self._thread.join()
        self._context.destroy(linger=round(linger_s * 1000))

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._back, zmq.POLLIN)
        poller.register(self._front, zmq.POLLIN)
        while not self._over.is_set():
            ready = dict(poller.poll(POLL_MS))
            if self._front in ready:
                self._back.send(self._front.recv())
            if self._back in ready:
                self._pass_on()

    def _pass_on(self) -> None:
        """Relay the messages that have arrived, a thousand at most."""
        for _ in range(1_000):
            try:
                frames = self._back.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if len(frames) != 2:
                continue
            topic, body = frames
            self.words[topic] = body
            if topic.endswith(b"/status") and _ENDED in body:
                stem = topic.removesuffix(b"status")
                for kind in (b"status", b"prediction", b"model"):
                    self.words.pop(stem + kind, None)
            self._front.send_multipart(frames, zmq.NOBLOCK)
