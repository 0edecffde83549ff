"""WebSockets of telephony platforms, by the library `websockets`: the opening, TLS, and messages to sessions.

Messages are taken without a task or a queue for each. With many connections each is read ten times a second, past the
event loop, which spares most of the cost of a message: that of waking up for it. Knows nothing of protocols.
"""

import asyncio
import logging
import os
import ssl
import time
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.typing import Subprotocol

from streamcab.media.admission import Admission
from streamcab.media.calls import Calls
from streamcab.media.frames import BINARY, TEXT, Frames
from streamcab.media.protocols import protocol_of
from streamcab.media.serializer import Handshake, Serializer
from streamcab.media.session import Session
from streamcab.rtp.allow import AllowList

log = logging.getLogger("streamcab.media")

LARGEST = 2 * 1024 * 1024
"""Bytes of a message of any protocol."""
OPEN_S = 10.0
"""Seconds in which a connection must have shown what it wants."""
LINGER_S = 3.0
"""Seconds that a connection which is to close may take for it."""
MANY = 32
"""Connections beyond which each is read in turns, and how many turns there are between two ticks of a second."""
TURNS = 5
AT_ONCE = 65_536
"""Bytes that a connection is read in its turn."""
FAILURES, FAILURES_S = 20, 60.0
"""Refused requests of an address, in how many seconds, after which it is told to wait."""

_wire = logging.getLogger("streamcab.media.wire")
# What strangers send is no error of ours: it is counted.
_wire.setLevel(logging.CRITICAL)


def _told_by_asyncio(record: logging.LogRecord) -> bool:
    """Return whether a record is worth a line: that a client was gone before its answers is not."""
    return record.msg != "socket.send() raised exception."


class Gate:
    """State that all connections of a server share."""

    def __init__(
        self, calls: Calls, admission: Admission, per_address: int, allow: AllowList | None = None
    ) -> None:
        self.calls, self.admission, self.per_address, self.allow = calls, admission, per_address, allow
        self.counts: Counter[str] = Counter()
        self.connections: dict[Connection, None] = {}
        self.peers: Counter[str] = Counter()
        self.serial = 0
        # Whether there is room, here or in a process that shares the address; is told for how many streams here.
        self.room: Callable[[int], bool] = lambda free: free > 0
        self._failures: dict[str, list[float]] = {}

    def tick(self, turn: int) -> None:
        """Read on from the connections whose turn it is."""
        for connection in list(self.connections):
            if connection.waits and connection.serial % TURNS == turn % TURNS:
                connection.read_on()

    def look(self, now: float) -> None:
        """Close what does not get anywhere, and forget old failures."""
        for connection in list(self.connections):
            if connection.session is not None:
                connection.session.look(now)
        self._failures = {
            peer: [t for t in times if now - t < FAILURES_S]
            for peer, times in self._failures.items()
            if times and now - times[-1] < FAILURES_S
        }

    def answer(self, connection: "Connection", request: Request) -> Response | None:
        """Answer a request that opens no connection; return None for one that does, whose session is made."""
        path, _, query = request.path.partition("?")
        if path == "/health":
            return connection.respond(HTTPStatus.OK, "alive\n")
        if path == "/ready":
            if self.room(self.calls.rings.free):
                return connection.respond(HTTPStatus.OK, "ready\n")
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "all streams are taken\n")
        kind = protocol_of(path)
        peer, now = connection.peer, time.monotonic()
        if kind is None:
            self.counts["unknown_path"] += 1
            return connection.respond(HTTPStatus.NOT_FOUND, "The path names no protocol, such as /twilio.\n")
        if len(self._failures.get(peer, ())) >= FAILURES:
            self.counts["unauthorized"] += 1
            return connection.respond(HTTPStatus.TOO_MANY_REQUESTS, "Too many refused requests.\n")
        shake = _handshake(request, path, query, peer, connection.serial)
        why = self.admission.refusal(kind.name, shake, time.time())
        if why:
            self._failures.setdefault(peer, []).append(now)
            self.counts["unauthorized"] += 1
            log.warning("media: a request of %s for %s is refused: %s", peer, kind.name, why)
            return connection.respond(HTTPStatus.UNAUTHORIZED, "Not admitted; see the log of streamcab.\n")
        if self.calls.rings.free <= 0:
            self.counts["refused_full"] += 1
            log.warning("media: a call is refused: all streams are taken; raise --max-streams")
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "All streams are taken.\n")
        connection.begin(kind(shake), now)
        return None


def _handshake(request: Request, path: str, query: str, peer: str, serial: int) -> Handshake:
    headers: dict[str, str] = {}
    for name, value in request.headers.raw_items():
        headers.setdefault(name.lower(), value)
    try:
        params = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=64))
    except ValueError:
        params = {}
    return Handshake(path, query, params, headers, peer, serial)


class Connection(ServerConnection):
    """One connection of a gate."""

    gate: Gate

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.session: Session | None = None
        self.waits = False
        self.peer, self.serial = "", 0
        self._parts: list[bytes] = []
        self._texts = False
        self._frames = Frames()
        self._file = -1  # to read from past the event loop; negative under TLS

    def begin(self, serializer: Serializer, now: float) -> None:
        """Note that the request is admitted."""
        gate = self.gate
        if self.protocol.reader.buffer:  # messages that did not wait for the answer
            self._frames.leave()
        self.session = Session(serializer, gate.calls, now, self._say, self._shut, gate.counts)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection, and refuse one too many of its address."""
        super().connection_made(transport)
        gate = self.gate
        peername = transport.get_extra_info("peername")
        self.peer = str(peername[0]) if peername else ""
        if transport.get_extra_info("sslcontext") is None:
            self._file = transport.get_extra_info("socket").fileno()
        gate.serial += 1
        self.serial = gate.serial
        gate.connections[self] = None
        gate.peers[self.peer] += 1
        if gate.peers[self.peer] > gate.per_address:
            gate.counts["too_many_connections"] += 1
            self.transport.abort()
        elif gate.allow is not None and not gate.allow.holds(self.peer):
            gate.counts["not_allowed"] += 1
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the session how the connection ended."""
        super().connection_lost(exc)
        gate = self.gate
        gate.connections.pop(self, None)
        gate.peers[self.peer] -= 1
        if not gate.peers[self.peer]:
            del gate.peers[self.peer]
        if self.session is not None:
            received = self.protocol.close_rcvd
            self.session.closed(received.code if received is not None else 1006, time.monotonic())

    def data_received(self, data: bytes) -> None:
        """Take in the bytes that have come; with many connections, this one reads more in its turn."""
        session = self.session
        if session is None or self.protocol.state is not State.OPEN:
            if session is not None:
                self._frames.leave()
            super().data_received(data)
        else:
            self._messages(session, data)
        if session is not None and not self.waits and len(self.gate.connections) > MANY:
            self.waits = True
            self.transport.pause_reading()

    def _messages(self, session: Session, data: bytes) -> None:
        now = time.monotonic()
        for first, part in self._frames.split(data):
            if first == TEXT:
                session.text(part, now)
            elif first == BINARY:
                session.binary(part, now)
            else:
                super().data_received(part)
                if self.protocol.state is not State.OPEN:
                    return

    def read_on(self) -> None:
        """Go on reading: it is this connection's turn."""
        if self.transport.is_closing():
            return
        if self._file >= 0 and len(self.gate.connections) > MANY:
            try:
                data = os.read(self._file, AT_ONCE)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if data:
                self.data_received(data)
                return
        # The event loop reads on: it also finds out how a connection has ended.
        self.waits = False
        self.transport.resume_reading()

    def start_keepalive(self) -> None:
        """Ping the connections whose platform tolerates it."""
        if self.session is not None and self.session.serializer.pings:
            super().start_keepalive()

    def process_event(self, event: Any) -> None:
        """Give messages to the session; the rest is the library's."""
        session = self.session
        if session is None or not isinstance(event, Frame):
            super().process_event(event)
            return
        opcode = event.opcode
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            self._texts, self._parts = opcode is Opcode.TEXT, []
        elif opcode is not Opcode.CONT:
            super().process_event(event)
            return
        self._parts.append(bytes(event.data))
        if event.fin:
            whole, self._parts = b"".join(self._parts), []
            (session.text if self._texts else session.binary)(whole, time.monotonic())

    def _say(self, text: str) -> None:
        if self.transport.get_write_buffer_size() > 65_536:  # it reads nothing
            self._shut(1008, "answers are not read")
            return
        self.protocol.send_text(text.encode())
        self.send_data()

    def _shut(self, code: int, reason: str) -> None:
        self.protocol.fail(code, reason[:100])
        self.send_data()
        self.loop.call_later(LINGER_S, self.transport.abort)


async def start(
    gate: Gate,
    host: str,
    port: int,
    context: ssl.SSLContext | None,
    *,
    shared: bool = False,
) -> Server:
    """Serve at an address, `shared` with other processes. OSError if it cannot be bound."""
    logging.getLogger("asyncio").addFilter(_told_by_asyncio)
    ours = type("Ours", (Connection,), {"gate": gate})

    async def carry(connection: ServerConnection) -> None:
        if isinstance(connection, Connection) and connection.session is not None:
            connection.session.opened(time.monotonic())
        await connection.wait_closed()

    def choose(connection: ServerConnection, offered: Any) -> Subprotocol | None:
        session = connection.session if isinstance(connection, Connection) else None
        known = session.serializer.subprotocols if session is not None else frozenset()
        return next((one for one in offered if one in known), None)

    def answer(connection: ServerConnection, request: Request) -> Response | None:
        assert isinstance(connection, Connection)
        return gate.answer(connection, request)

    return await serve(
        carry,
        host,
        port,
        create_connection=ours,
        process_request=answer,
        select_subprotocol=choose,
        compression=None,
        server_header=None,
        open_timeout=OPEN_S,
        close_timeout=LINGER_S,
        max_size=LARGEST,
        ssl=context,
        logger=_wire,
        reuse_port=shared or None,
    )
