"""Calls over plain TCP: Asterisk's AudioSocket, which has neither TLS nor any proof of who calls.

Knows nothing of the protocol's messages.
"""

import asyncio
import time
from typing import cast

from streamcab.media.audiosocket import SILENCE, AudioSocket
from streamcab.media.serializer import Handshake
from streamcab.media.server import LINGER_S, Gate
from streamcab.media.session import Session

QUIET_S = 1.0
"""Without audio for so long, silence is sent, so that Asterisk does not end the call."""


class SocketCall(asyncio.Protocol):
    """One connection."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._session: Session | None = None
        self._serializer = AudioSocket(Handshake(""))
        self._transport: asyncio.Transport
        self._peer = ""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless the address may not send, or has too many connections."""
        self._transport = cast(asyncio.Transport, transport)
        gate, peername = self._gate, transport.get_extra_info("peername")
        self._peer = str(peername[0]) if peername else ""
        gate.serial += 1
        gate.peers[self._peer] += 1
        if gate.allow is not None and not gate.allow.holds(self._peer):
            gate.counts["not_allowed"] += 1
            self._transport.abort()
        elif gate.peers[self._peer] > gate.per_address:
            gate.counts["too_many_connections"] += 1
            self._transport.abort()
        else:
            self._serializer = AudioSocket(Handshake("", peer=self._peer, serial=gate.serial))
            self._session = Session(
                self._serializer, gate.calls, time.monotonic(), lambda _: None, self._shut, gate.counts
            )
            self._look()

    def data_received(self, data: bytes) -> None:
        """Take in the bytes that have come."""
        if self._session is not None:
            self._session.chunk(lambda: self._serializer.stream(data), len(data), time.monotonic())

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection is gone: with AudioSocket that is how a call ends."""
        gate = self._gate
        if self._timer is not None:
            self._timer.cancel()
        gate.peers[self._peer] -= 1
        if not gate.peers[self._peer]:
            del gate.peers[self._peer]
        if self._session is not None:
            self._session.closed(1000 if exc is None else 1006, time.monotonic())

    def _look(self) -> None:
        """Look once a second: keep a quiet call alive, close what does not get anywhere."""
        session, now = self._session, time.monotonic()
        self._timer = asyncio.get_running_loop().call_later(QUIET_S, self._look)
        if session is None or session.over:
            return
        session.look(now)
        if now - session.last > QUIET_S and self._transport.get_write_buffer_size() == 0:
            self._transport.write(SILENCE)

    def _shut(self, code: int, reason: str) -> None:
        self._transport.close()
        asyncio.get_running_loop().call_later(LINGER_S, self._transport.abort)


async def start(gate: Gate, host: str, port: int, *, shared: bool = False) -> asyncio.Server:
    """Serve at an address, `shared` with other processes. OSError if it cannot be bound."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: SocketCall(gate), host, port, reuse_port=shared or None)
