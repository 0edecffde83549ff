"""The receiving end of the feed: delivers each message once and counts the ones that were missed.

Owns the SUB socket and the memory of every stream. Knows nothing of audio, models or threads. A subscriber
belongs to the thread that made it, since ZeroMQ's sockets are not thread safe.

No ZMTP heartbeats, on purpose: libzmq 4.3.5 aborts the process of a subscriber whose queue is full when its
own heartbeat runs out (libzmq #3937). TCP keep-alive finds vanished peers instead; `age` measures silence.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import msgspec
import zmq

from streamcab.config.tree import ENDPOINT
from streamcab.errors import FeedError
from streamcab.feed.connection_monitor import ConnectionMonitor
from streamcab.feed.curve import ClientKeys
from streamcab.feed.endpoint import prepare
from streamcab.message import (
    DAEMON,
    KINDS,
    VERSION,
    AnyMessage,
    Prediction,
    Status,
    decode,
    topic,
    valid_name,
)

DEAD_S = 3.0  # the daemon speaks each second: three misses and the feed is dead
RECEIVE_QUEUE = 10_000  # messages that wait for a user who does not read
SEEN_STREAMS = 20_000  # whose last seq a subscriber remembers, 1 kB each:
OVER_S, OVER_STREAMS = (
    120.0,
    2_000,
)  # ended ones for twice as long, and twice as many, as a publisher repeats them
MAX_BODY = 1 << 20  # bytes of a frame that a subscriber takes


@dataclass(slots=True)
class _Seen:
    """The messages of one stream that have arrived."""

    last: dict[str, int] = field(default_factory=dict)  # seq by kind
    over: set[str] = field(default_factory=set)  # kinds whose next seq may jump, since the stream ended


class Subscriber:
    """Connects to a feed and receives its messages, each once. Reconnects by itself.

    A feed that does not answer is not an error; `age` and `alive` tell. A subscriber can be iterated over, and is a
    context manager that closes itself.

        with Subscriber() as feed:
            for message in feed:
                print(message.stream, message)

    Args:
        endpoint: Where the daemon publishes, such as `tcp://127.0.0.1:5557`.
        streams: Names of the streams wanted; None means all. `daemon` is the daemon itself.
        kinds: Kinds of message wanted, such as `prediction`; None means all.
        keys: CURVE keys, for a feed that requires them.

    Attributes:
        run: Identifier of the daemon's present run; None before the first message.
        missed: Messages that were sent and never arrived.
        repeats: Messages that arrived again, as the daemon repeats them for late joiners.
        malformed: Messages that no daemon of this version sends.
        restarts: How often the daemon was restarted.

    Raises:
        FeedError: The endpoint is not valid. While reading: the feed refuses this subscriber for good.
    """

    def __init__(
        self,
        endpoint: str = ENDPOINT,
        streams: Iterable[str] | None = None,
        kinds: Iterable[str] | None = None,
        *,
        keys: ClientKeys | None = None,
    ) -> None:
        prefixes = _prefixes(streams, kinds)
        self.endpoint = endpoint
        self.run: str | None = None  # the daemon's start that is heard now
        self.missed = 0  # messages that were sent and never arrived
        self.repeats = 0  # messages that arrived once more, for a late joiner
        self.malformed = 0  # messages that no daemon of this version sends
        self.restarts = 0  # changes of the run
        self._kinds = set(KINDS if kinds is None else _listed(kinds))
        self._heard = -math.inf  # monotonic seconds
        self._seen: OrderedDict[str, _Seen] = OrderedDict()  # by stream, the one heard last at the end
        self._over: OrderedDict[str, float] = (
            OrderedDict()
        )  # streams that ended, when (monotonic), the first first
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, RECEIVE_QUEUE)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_BODY)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1_000)
        prepare(self._socket, endpoint)
        self._handshake = ConnectionMonitor(self._context, self._socket, endpoint, keys)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._handshake.socket, zmq.POLLIN)
        for prefix in prefixes:
            self._socket.subscribe(prefix)
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise FeedError(f"{endpoint!r} is not an endpoint: {error.strerror}; write {ENDPOINT}") from None

    @property
    def age(self) -> float:
        """Seconds since the newest message was read; infinite before the first."""
        return time.monotonic() - self._heard

    @property
    def alive(self) -> bool:
        """Whether a message was read within the last 3 seconds."""
        return self.age < DEAD_S

    def recv(self, timeout_s: float | None = None) -> AnyMessage | None:
        """Wait for the next message.

        Args:
            timeout_s: Seconds to wait at most; None means forever.

        Returns:
            The message, or None when the time is up.

        Raises:
            FeedError: The feed refuses this subscriber for good.
        """
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while True:
            try:
                message = self._accept(self._socket.recv_multipart(zmq.NOBLOCK))
                if message is not None:
                    return message
            except zmq.Again:
                again = self._handshake.check()
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                left = min(left, again)
                self._poller.poll(None if left == math.inf else math.ceil(left * 1000))

    def drain(self) -> list[AnyMessage]:
        """Take every message that has arrived, without waiting.

        After a stall the queue holds the past: a display should draw only the newest message of each stream.

        Returns:
            The messages, oldest first, at most 10,000.
        """
        messages: list[AnyMessage] = []
        for _ in range(RECEIVE_QUEUE):
            try:
                message = self._accept(self._socket.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                if not messages:
                    self._handshake.check()
                break
            if message is not None:
                messages.append(message)
        return messages

    def close(self) -> None:
        """Close the socket. Messages that arrived and were not read are lost."""
        self._context.destroy(linger=0)

    def __iter__(self) -> Iterator[AnyMessage]:
        """Yield message after message, forever."""
        while True:
            message = self.recv()
            assert message is not None  # without a timeout recv ends with a message only
            yield message

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self, frames: list[bytes]) -> AnyMessage | None:
        """Return the message in `frames`; None when it is not wanted, known already, or no message at all."""
        try:
            name, body = frames
            version, stream, kind = name.decode("ascii").split("/")
            if kind not in self._kinds:  # not asked for, or of a newer daemon
                self._heard = time.monotonic()
                return None
            message = decode(body)
            if (version, stream, KINDS[kind]) != (VERSION, message.stream, type(message)) or not message.run:
                raise ValueError("the frames contradict each other")
        except (ValueError, msgspec.DecodeError, RecursionError):
            self.malformed += 1
            return None
        self._heard = time.monotonic()
        return message if self._is_new(message, kind) else None

    def _is_new(self, message: AnyMessage, kind: str) -> bool:
        """Return whether `message` has not arrived before; count the messages missing before it."""
        if message.run != self.run:
            self.restarts += self.run is not None
            self.run = message.run
            self._seen.clear()
            self._over.clear()
        seen = self._seen.setdefault(message.stream, _Seen())
        self._seen.move_to_end(message.stream)
        if len(self._seen) > SEEN_STREAMS:
            self._over.pop(self._seen.popitem(last=False)[0], None)
        last = seen.last.get(kind)
        if last is not None and message.seq <= last:
            self.repeats += 1
            return False
        if last is not None and kind not in seen.over:
            self.missed += message.seq - last - 1
        seen.last[kind] = message.seq
        seen.over.discard(kind)
        if isinstance(message, Prediction | Status) and message.state == "ended":
            seen.over.update(seen.last)
            self._over[message.stream] = self._heard
            self._over.move_to_end(message.stream)
        else:
            self._over.pop(message.stream, None)
        self._forget()
        return True

    def _forget(self) -> None:
        """Forget streams that ended: their messages are not repeated any more."""
        while self._over:
            stream, ended = next(iter(self._over.items()))
            if self._heard - ended <= OVER_S and len(self._over) <= OVER_STREAMS:
                break
            del self._over[stream], self._seen[stream]


def _listed(names: Iterable[str]) -> list[str]:
    """Return the names, where one alone may be given as a string."""
    return [names] if isinstance(names, str) else [*names]


def _prefixes(streams: Iterable[str] | None, kinds: Iterable[str] | None) -> list[str]:
    """Return the topics to subscribe to: up to a slash or whole, since `v1/mic` would match `mic2` too."""
    for kind in _listed(kinds or ()):
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is not a kind of message: {', '.join(KINDS)}")
    if streams is None:
        return [f"{VERSION}/"]  # a prefix cannot tell kinds: the others are skipped when they arrive
    for stream in (streams := _listed(streams)):
        if stream != DAEMON and not valid_name(stream):
            raise ValueError(f"{stream!r} cannot name a stream")
    return [topic(stream, kind) for stream in streams for kind in ([""] if kinds is None else _listed(kinds))]
