"""The feed: `Publisher` in the daemon, `Subscriber` in whoever listens. Sockets, repeats, losses.

Knows nothing of audio, models or threads: both ends belong to the thread that made them, since the sockets of
ZeroMQ are not thread safe. docs/feed.md describes what is on the wire, for any other language.

No ZMTP heartbeats, on purpose: libzmq 4.3.5 aborts the process of a subscriber whose queue is full when its
own heartbeat runs out (libzmq #3937). TCP keep-alive finds vanished peers instead; `age` measures silence.
"""

import ipaddress
import math
import os
import re
import secrets
import socket
import stat
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeVar

import msgspec
import zmq

from streamcab.errors import FeedError
from streamcab.message import (
    DAEMON,
    KINDS,
    VERSION,
    AnyMessage,
    DaemonStatus,
    Message,
    Prediction,
    Status,
    decode,
    encode,
    topic,
    valid_name,
)

ENDPOINT = "tcp://127.0.0.1:5557"
DEAD_S = 3.0  # the daemon speaks each second: three misses and the feed is dead
SEND_QUEUE = 4_096  # messages that wait for one stalled subscriber: 1,000 streams publish 2,000 in one pass
RECEIVE_QUEUE = 10_000  # messages that wait for a user who does not read
ENDED_S = 60.0  # for so long the last words of an ended stream are repeated to late joiners,
ENDED_STREAMS = 1_000  # and of so many streams at most
SUBSCRIPTIONS = 256  # are read in one poll at most,
REPEATS = 64  # are sent in one poll at most,
REPEAT_S = 0.002  # and none is begun later in it than this: to 1,000 subscribers one takes up to 1 ms
SEEN_STREAMS = 20_000  # whose last seq a subscriber remembers
MAX_SUBSCRIPTION = 1_024  # bytes of a frame that a publisher takes
MAX_BODY = 1 << 20  # bytes of a frame that a subscriber takes

_TAGS = {message: tag for tag, message in KINDS.items()}
_ROOT = f"{VERSION}/".encode()
_TCP = re.compile(r"tcp://(?:\[([^\]]*)\]|([^:\[\]]*)):(\*|[0-9]{1,5})")
_M = TypeVar("_M", bound=AnyMessage)


@dataclass(slots=True)
class _Channel:
    """One topic, and what was said last under it."""

    topic: bytes
    seq: int
    body: bytes = b""


_Channels = dict[type[Message], _Channel]


class Publisher:
    """Binds `endpoint` and sends messages to any number of subscribers, none of which can slow it down.

    `run` is the id of this start, random unless given; `queue` how many messages wait for one stalled
    subscriber before newer ones are dropped for it; `ended_s` how many seconds an ended stream is repeated to
    late joiners. Raises FeedError when the endpoint is taken, cannot be bound, or is open to other machines.
    """

    def __init__(
        self,
        endpoint: str = ENDPOINT,
        run: str | None = None,
        *,
        queue: int = SEND_QUEUE,
        ended_s: float = ENDED_S,
    ) -> None:
        address = _bindable(endpoint)
        self.run = run or secrets.token_hex(6)
        self.sent = 0  # messages given to ZeroMQ, repeats included
        self.repeated = 0  # messages sent once more, for late joiners
        self.failed = 0  # messages that could not be encoded or sent
        self.joined = 0  # subscriptions so far: from the first on, somebody hears
        self._ended_s = ended_s
        self._streams: dict[str, _Channels] = {}
        self._ended: OrderedDict[str, tuple[float, _Channels]] = OrderedDict()  # repeated until (monotonic)
        self._floor = 0  # the highest seq that was dropped with an ended stream
        self._due: OrderedDict[bytes, _Channel] = OrderedDict()  # what late joiners wait for, by topic
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.XPUB_VERBOSE, 1)  # else the second joiner of a topic is not announced
        self._socket.setsockopt(zmq.SNDHWM, queue)
        self._socket.setsockopt(zmq.BACKLOG, 1_024)  # 1,000 subscribers may come at once, after a restart
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_SUBSCRIPTION)
        _prepare(self._socket, address)
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self.close()
            if error.errno == zmq.EADDRINUSE:
                raise _taken(endpoint) from None
            raise FeedError(f"the feed cannot be bound to {endpoint}: {error.strerror}") from None
        # the real port where `*` was asked for
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def publish(self, message: _M) -> _M:
        """Sends `message` with run and seq filled in, returns it so, and retains it for late joiners.

        Never blocks; what cannot be encoded or sent is counted in `failed`. Raises ValueError for a name that
        no stream can have.
        """
        try:
            channel = self._streams[message.stream][type(message)]
        except KeyError:
            channel = self._open(message)
        channel.seq += 1
        message = msgspec.structs.replace(message, run=self.run, seq=channel.seq)
        try:
            channel.body = encode(message)
        except UnicodeEncodeError:  # a lone surrogate, out of the name of a file
            self.failed += 1
        else:
            self._send(channel)
        return message

    def forget(self, stream: str) -> None:
        """Says that `stream` is over, once its `ended` messages are published: its memory is given back.

        Late joiners still get its last messages for `ended_s` seconds, of the newest ENDED_STREAMS such
        streams. Until then a stream of the same name counts on; later it begins above every seq given back.
        """
        channels = self._streams.pop(stream, None)
        if channels is not None:
            self._ended[stream] = (time.monotonic() + self._ended_s, channels)
            self._drop_ended()

    def poll(self) -> None:
        """Serves late joiners: call it in the loop that publishes, some ten times a second or more.

        However many join at once, a call reads SUBSCRIPTIONS requests, looks through the topics once, and
        sends REPEATS messages within REPEAT_S at most; the rest waits for the next calls. Requests for the
        same topic are answered together, since every subscriber of it gets the answer.
        """
        self._read_subscriptions()
        self._repeat()
        self._drop_ended()

    def close(self, linger_s: float = 0.0) -> None:
        """Closes the socket; waits up to `linger_s` seconds for what was just published to leave."""
        self._context.destroy(linger=round(linger_s * 1000))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, message: AnyMessage) -> _Channel:
        """The channel for the first message of its stream and kind."""
        stream, kind = message.stream, type(message)
        if stream != DAEMON if kind is DaemonStatus else not valid_name(stream):
            raise ValueError(f"{stream!r} cannot name a stream")
        if stream in self._ended:
            _, self._streams[stream] = self._ended.pop(stream)
        channels = self._streams.setdefault(stream, {})
        if kind not in channels:
            channels[kind] = _Channel(topic(stream, _TAGS[kind]).encode(), self._floor)
        return channels[kind]

    def _send(self, channel: _Channel) -> None:
        try:
            self._socket.send(channel.topic, zmq.SNDMORE | zmq.NOBLOCK)
            self._socket.send(channel.body, zmq.NOBLOCK)
        except zmq.ZMQError:
            self.failed += 1
        else:
            self.sent += 1

    def _read_subscriptions(self) -> None:
        """Marks as due what the newest subscribers have asked for."""
        wide = set()  # prefixes of several streams' topics
        for _ in range(SUBSCRIPTIONS):
            try:
                frame = self._socket.recv(zmq.NOBLOCK)
            except zmq.ZMQError:
                break
            if frame[:1] != b"\x01":
                continue
            self.joined += 1
            stream, slash, _rest = frame[1 + len(_ROOT) :].partition(b"/")
            if slash and frame.startswith(_ROOT, 1):
                self._mark(stream.decode("ascii", "replace"), frame[1:])
            else:
                wide.add(frame[1:])
        if wide:
            prefixes = tuple(wide) if len(wide) <= 8 else (b"",)  # rather too much than a look for each
            for name in (*self._streams, *self._ended):
                self._mark(name, prefixes)

    def _mark(self, stream: str, prefix: bytes | tuple[bytes, ...]) -> None:
        channels = self._streams.get(stream) or self._ended.get(stream, (0.0, _Channels()))[1]
        for channel in channels.values():
            if channel.body and channel.topic.startswith(prefix):
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


@dataclass(slots=True)
class _Seen:
    """What has arrived of one stream."""

    last: dict[str, int] = field(default_factory=dict)  # seq by kind
    over: set[str] = field(default_factory=set)  # kinds whose next seq may jump, since the stream ended


class Subscriber:
    """Connects to `endpoint` and receives messages, each once; reconnects by itself for as long as it lives.

    `streams` and `kinds` narrow it to these names (`daemon` is the daemon itself) and kinds; None means all.
    Raises FeedError for what cannot be an endpoint. Nobody answering there is no error: see `age`.

        with Subscriber() as feed:
            for message in feed:
                print(message.stream, message)
    """

    def __init__(
        self,
        endpoint: str = ENDPOINT,
        streams: Iterable[str] | None = None,
        kinds: Iterable[str] | None = None,
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
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, RECEIVE_QUEUE)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_BODY)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1_000)
        _prepare(self._socket, endpoint)
        for prefix in prefixes:
            self._socket.subscribe(prefix)
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise FeedError(f"{endpoint!r} is not an endpoint: {error.strerror}; write {ENDPOINT}") from None

    @property
    def age(self) -> float:
        """Seconds since the newest message was read here, infinite before the first."""
        return time.monotonic() - self._heard

    @property
    def alive(self) -> bool:
        """Whether the daemon was heard in the last DEAD_S seconds."""
        return self.age < DEAD_S

    def recv(self, timeout_s: float | None = None) -> AnyMessage | None:
        """The next message, waited for up to `timeout_s` seconds (None: for ever); None when none came."""
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while True:
            try:
                message = self._accept(self._socket.recv_multipart(zmq.NOBLOCK))
                if message is not None:
                    return message
            except zmq.Again:
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._socket.poll(None if left == math.inf else math.ceil(left * 1000))

    def drain(self) -> list[AnyMessage]:
        """All that has arrived by now, oldest first, without waiting; at most RECEIVE_QUEUE messages.

        Whoever draws should draw only the newest of each stream: after a stall the queue holds the past.
        """
        messages = []
        for _ in range(RECEIVE_QUEUE):
            try:
                message = self._accept(self._socket.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                break
            if message is not None:
                messages.append(message)
        return messages

    def close(self) -> None:
        """Closes the socket; what has arrived and was not read is lost."""
        self._context.destroy(linger=0)

    def __iter__(self) -> Iterator[AnyMessage]:
        """Message after message, for ever."""
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
        """The message in `frames`; None when it is not wanted, known already, or no message at all."""
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
        """Whether `message` has not been here; counts what is missing before it."""
        if message.run != self.run:
            self.restarts += self.run is not None
            self.run = message.run
            self._seen.clear()
        seen = self._seen.setdefault(message.stream, _Seen())
        self._seen.move_to_end(message.stream)
        if len(self._seen) > SEEN_STREAMS:
            self._seen.popitem(last=False)
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
        return True


def _listed(names: Iterable[str]) -> list[str]:
    """The names, where one alone may be given as a string."""
    return [names] if isinstance(names, str) else [*names]


def _prefixes(streams: Iterable[str] | None, kinds: Iterable[str] | None) -> list[str]:
    """What to subscribe to: up to a slash or a whole topic, since `v1/mic` would match `mic2` too."""
    for kind in _listed(kinds or ()):
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is no kind of message: {', '.join(KINDS)}")
    if streams is None:
        return [f"{VERSION}/"]  # a prefix cannot tell kinds: the others are skipped when they arrive
    for stream in (streams := _listed(streams)):
        if stream != DAEMON and not valid_name(stream):
            raise ValueError(f"{stream!r} cannot name a stream")
    return [topic(stream, kind) for stream in streams for kind in ([""] if kinds is None else _listed(kinds))]


def _prepare(socket: zmq.Socket[bytes], address: str) -> None:
    """What both ends set: nothing waits at the end, and a peer that vanished silently is found in 25 s."""
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.IPV6, "[" in address)  # not for names: libzmq would try ::1 alone for localhost
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 10)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 5)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)


def _bindable(endpoint: str) -> str:
    """`endpoint` as ZeroMQ shall bind it: an address, no name. FeedError when it is open to others."""
    if endpoint.startswith("ipc://"):
        _free_path(endpoint, endpoint.removeprefix("ipc://"))
        return endpoint
    match = _TCP.fullmatch(endpoint)
    if match is None or (match[3] != "*" and int(match[3]) > 65_535):
        raise FeedError(
            f"{endpoint!r} cannot carry the feed: write {ENDPOINT}, tcp://127.0.0.1:* or ipc:///DIR/feed.ipc"
        )
    host = match[1] or match[2]
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        address = None
    if address is None or not address.is_loopback:
        raise FeedError(
            f"{endpoint!r} is refused: no keys are configured, so anybody who reaches it could listen; "
            f"bind {ENDPOINT}, and listen from elsewhere through `ssh -L 5557:127.0.0.1:5557 HOST`"
        )
    port = "*" if match[3] == "*" or int(match[3]) == 0 else match[3]
    return f"tcp://[{address}]:{port}" if address.version == 6 else f"tcp://{address}:{port}"


def _free_path(endpoint: str, path: str) -> None:
    """Removes the socket that a dead daemon left at `path`, and nothing else; libzmq removes any file."""
    directory = os.path.dirname(path) or "."
    if not path or path[0] in "@*":
        raise FeedError(
            f"{endpoint!r} has no file whose permissions could guard it: write ipc:///DIR/feed.ipc"
        )
    if not os.path.isdir(directory):
        raise FeedError(
            f"{endpoint}: there is no directory {directory}; make it, writable for the daemon only"
        )
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FeedError(f"{endpoint}: {path} is there and no socket; move it away or choose another path")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            probe.connect(path)
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        os.unlink(path)
    except BlockingIOError:
        raise _taken(endpoint) from None
    except OSError as error:
        raise FeedError(f"the feed cannot be bound to {endpoint}: {error.strerror or error}") from None
    else:
        raise _taken(endpoint)


def _taken(endpoint: str) -> FeedError:
    return FeedError(
        f"{endpoint} is taken, perhaps by another streamcab: stop that, or choose another endpoint"
    )
