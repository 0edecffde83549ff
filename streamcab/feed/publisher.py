"""The sending end of the feed: sends messages, keeps the last of each topic, and repeats it to late joiners.

A message without a subscriber is kept, but neither encoded nor sent. Owns the XPUB socket, the numbering of
messages and the last message of every topic. Knows nothing of audio, models or threads. A publisher belongs to the
thread that made it, since ZeroMQ's sockets are not thread safe. `zap.py` decides who may connect;
docs/reference/feed.md describes the wire format, for other languages.
"""

import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

import msgspec
import zmq

from streamcab.config.tree import ENDPOINT
from streamcab.errors import FeedError
from streamcab.feed.curve import ServerKeys
from streamcab.feed.outlet import SEND_QUEUE, outlet
from streamcab.message import (
    DAEMON,
    KINDS,
    VERSION,
    AnyMessage,
    DaemonStatus,
    Message,
    encode,
    topic,
    valid_name,
)

ENDED_S = 60.0  # the last messages of an ended stream are repeated to late joiners for this long,
ENDED_STREAMS = 1_000  # and for this number of streams at most
SUBSCRIPTIONS = 256  # are read in one poll at most,
REPEATS = 64  # are sent in one poll at most,
REPEAT_S = 0.002  # and none is begun later in it than this: to 1,000 subscribers one takes up to 1 ms
TOPIC, BODY = int(zmq.SNDMORE | zmq.NOBLOCK), int(zmq.NOBLOCK)  # flags are slow to join, for each message
POLLIN = int(zmq.POLLIN)

_TAGS = {message: tag for tag, message in KINDS.items()}
_ROOT = f"{VERSION}/".encode()
_M = TypeVar("_M", bound=AnyMessage)


@dataclass(slots=True)
class Channel:
    """One topic, and its last message; `body` is empty until it is encoded."""

    topic: bytes
    stream: str
    seq: int
    message: AnyMessage | None = None
    body: bytes = b""


_Channels = dict[type[Message], Channel]


class Publisher:
    """Binds an endpoint and sends messages to any number of subscribers. A slow subscriber delays no other.

    Args:
        endpoint: Where to publish, such as `tcp://127.0.0.1:5557`. A `*` as the port takes a free one.
        run: Identifier of this run; random unless given.
        queue: Messages that wait for one stalled subscriber before newer ones are dropped for it.
        ended_s: Seconds for which the last messages of an ended stream are repeated to late joiners.
        keys: CURVE keys. With them only known clients are served, and the endpoint may leave this machine.
        ipc_group: Unix group that may connect to an `ipc://` endpoint.
        floor: Numbers of messages begin above this.

    Attributes:
        endpoint: The endpoint as bound.
        run: Identifier of this run.
        sent: Messages given to ZeroMQ, repeats included; not those without a subscriber.
        repeated: Messages sent again for late joiners.
        failed: Messages that could not be encoded or sent.
        joined: Subscriptions so far.

    Raises:
        FeedError: The endpoint is taken, cannot be bound, or would be open to other machines without keys.
    """

    def __init__(
        self,
        endpoint: str = ENDPOINT,
        run: str | None = None,
        *,
        queue: int = SEND_QUEUE,
        ended_s: float = ENDED_S,
        keys: ServerKeys | None = None,
        ipc_group: str | None = None,
        floor: int = 0,
    ) -> None:
        self.run = run or secrets.token_hex(6)
        self.sent = 0  # messages given to ZeroMQ, repeats included
        self.repeated = 0  # messages sent once more, for late joiners
        self.failed = 0  # messages that could not be encoded or sent
        self.joined = 0  # subscriptions so far
        self._ended_s = ended_s
        self._streams: dict[str, _Channels] = {}
        self._ended: OrderedDict[str, tuple[float, _Channels]] = OrderedDict()  # repeated until (monotonic)
        self._floor = floor  # the highest seq that was dropped with an ended stream
        self._due: OrderedDict[bytes, Channel] = OrderedDict()  # what late joiners wait for, by topic
        self._subscribed: dict[str, set[bytes]] = {}  # prefixes of one stream's topics, by stream,
        self._wide: tuple[bytes, ...] = ()  # and of several streams' topics
        self._context = zmq.Context()
        try:
            self._socket, self._door = outlet(self._context, endpoint, queue, keys, ipc_group)
        except FeedError:
            self.close()
            raise
        # the real port where `*` was asked for
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    @property
    def refused(self) -> int:
        """Connections that failed in the handshake: unknown or wrong keys, and clients that hung up."""
        return self._door.refused

    def publish(self, message: _M) -> _M:
        """Send a message to its subscribers and keep it for late joiners. Never blocks.

        Args:
            message: The message; `run` and `seq` are filled in.

        Returns:
            The message, numbered. One that could not be encoded or sent is counted in `failed`.

        Raises:
            ValueError: The message names a stream that cannot exist.
        """
        try:
            channel = self._streams[message.stream][type(message)]
        except KeyError:
            channel = self._open(message)
        channel.seq += 1
        message = msgspec.structs.replace(message, run=self.run, seq=channel.seq)
        channel.message, channel.body = message, b""
        wanted = self._wanted(channel)
        if not wanted:
            self._read_subscriptions()
            wanted = self._wanted(channel)
        if wanted:
            self._send(channel)
        return message

    def follow(self, message: AnyMessage) -> None:
        """Number the next message of this topic after `message`, the last one of another publisher of the same run."""
        channels = self._streams.get(message.stream, {})
        channel = channels.get(type(message)) or self._open(message)
        channel.seq = max(channel.seq, message.seq)

    def forget(self, stream: str) -> None:
        """Release the memory of a stream whose `ended` messages have been published.

        Late joiners still receive its last messages for `ended_s` seconds, for the newest 1,000 such streams. Within
        that time a stream of the same name continues the numbering; later it begins above every number released.

        Args:
            stream: The name.
        """
        channels = self._streams.pop(stream, None)
        if channels is not None:
            self._ended[stream] = (time.monotonic() + self._ended_s, channels)
            self._drop_ended()

    def poll(self) -> None:
        """Serve late joiners. Call this ten times a second or more from the loop that publishes.

        However many join at once, one call reads at most 256 requests and sends at most 64 messages within 2 ms. The
        rest waits for the next calls. Requests for one topic are answered together, since every subscriber of it
        receives the answer.
        """
        self._door.poll()
        self._read_subscriptions()
        self._repeat()
        self._drop_ended()

    def close(self, linger_s: float = 0.0) -> None:
        """Close the socket.

        Args:
            linger_s: Seconds to wait at most for published messages to leave.
        """
        self._context.destroy(linger=round(linger_s * 1000))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, message: AnyMessage) -> Channel:
        """Open the channel for the first message of its stream and kind."""
        stream, kind = message.stream, type(message)
        if stream != DAEMON if kind is DaemonStatus else not valid_name(stream):
            raise ValueError(f"{stream!r} cannot name a stream")
        if stream in self._ended:
            _, self._streams[stream] = self._ended.pop(stream)
        channels = self._streams.setdefault(stream, {})
        if kind not in channels:
            channels[kind] = Channel(topic(stream, _TAGS[kind]).encode(), stream, self._floor)
        return channels[kind]

    def _wanted(self, channel: Channel) -> bool:
        """Return whether a channel has a subscriber, as far as subscriptions were read."""
        if self._wide and channel.topic.startswith(self._wide):
            return True
        own = self._subscribed.get(channel.stream)
        return own is not None and channel.topic.startswith(tuple(own))

    def _send(self, channel: Channel) -> None:
        try:
            channel.body = channel.body or encode(channel.message)
            self._socket.send(channel.topic, TOPIC)
            self._socket.send(channel.body, BODY)
        except (zmq.ZMQError, UnicodeEncodeError):  # a lone surrogate, out of the name of a file
            self.failed += 1
        else:
            self.sent += 1

    def _read_subscriptions(self) -> None:
        """Mark the channels that the newest subscribers have asked for as due."""
        wide = set()  # prefixes of several streams' topics
        for _ in range(SUBSCRIPTIONS):
            if self._socket.closed or not int(self._socket.getsockopt(zmq.EVENTS)) & POLLIN:
                break
            frame = self._socket.recv(zmq.NOBLOCK)
            if frame[:1] not in (b"\x00", b"\x01"):
                continue
            prefix, comes = frame[1:], frame[:1] == b"\x01"
            stream, slash, _rest = prefix[len(_ROOT) :].partition(b"/")
            one = stream.decode("ascii", "replace") if slash and prefix.startswith(_ROOT) else None
            self._note(one, prefix, comes)
            self.joined += comes
            if comes and one is not None:
                self._mark(one, prefix)
            elif comes:
                wide.add(prefix)
        if wide:
            prefixes = tuple(wide) if len(wide) <= 8 else (b"",)  # rather too much than a look for each
            for name in (*self._streams, *self._ended):
                self._mark(name, prefixes)

    def _note(self, stream: str | None, prefix: bytes, comes: bool) -> None:
        """Note that a prefix of one stream's topics, or of several, gets its first subscriber or loses its last."""
        known = set(self._wide) if stream is None else self._subscribed.setdefault(stream, set())
        (known.add if comes else known.discard)(prefix)
        if stream is None:
            self._wide = tuple(known)
        elif not known:
            del self._subscribed[stream]

    def _mark(self, stream: str, prefix: bytes | tuple[bytes, ...]) -> None:
        channels = self._streams.get(stream) or self._ended.get(stream, (0.0, _Channels()))[1]
        for channel in channels.values():
            if channel.message is not None and channel.topic.startswith(prefix):
                self._due[channel.topic] = channel

    def _repeat(self) -> None:
        stop = time.monotonic() + REPEAT_S
        for _ in range(min(REPEATS, len(self._due))):
            self._send(self._due.popitem(last=False)[1])
            self.repeated += 1
            if time.monotonic() > stop:
                break

    def _drop_ended(self) -> None:
        now = time.monotonic()
        while self._ended:
            stream, (until, channels) = next(iter(self._ended.items()))  # the one that ended first
            if until > now and len(self._ended) <= ENDED_STREAMS:
                break
            del self._ended[stream]
            for channel in channels.values():
                self._floor = max(self._floor, channel.seq)
                self._due.pop(channel.topic, None)
