"""Sends the calls of a plan as Twilio's WebSocket messages: the load generator's other voice.

A frame is made of parts that are there already, and its mask is zero, which is valid: what is measured is the server.
Knows nothing of when a message is due.
"""

import base64
import selectors
import socket
import time
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from streamcab.bench.traffic import Plan, Traffic
from streamcab.errors import SourceError

TOGETHER = 64
"""Connections that are opened at a time."""
LOOK_S = 5.0
"""Between two looks for the server's pings."""
PATIENCE_S = 20.0
"""Time that opening them may take."""
_REQUEST = (
    "GET /twilio HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def frame(text: str) -> bytes:
    """Return a text message as a client sends it, with a mask of zeros."""
    data = text.encode()
    length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    return b"\x81" + length + bytes(4) + data


class MediaPackets:
    """A connection for each call; `sent` and `failed` count messages of audio."""

    def __init__(self, host: str, port: int, plan: Plan, traffic: Traffic, speech: NDArray[np.uint8]) -> None:
        self._host, self._port, self._plan = host, port, plan
        self._ms = traffic.ptime_ms
        size = traffic.samples
        random = np.random.default_rng(traffic.seed)
        whole = len(speech) // size
        self._said = [
            base64.b64encode(speech[k * size : (k + 1) * size].tobytes()).decode() for k in range(whole)
        ]
        self._offset = random.integers(0, whole, plan.calls).tolist()
        self._sockets: dict[int, socket.socket] = {}
        self._look = time.monotonic() + LOOK_S
        self.sent = self.failed = 0
        first = np.flatnonzero(plan.first <= plan.steady).tolist()
        for at in range(0, len(first), TOGETHER):
            self._open(first[at : at + TOGETHER])

    def _open(self, serials: Sequence[int]) -> None:
        """Connect, all of them at once. SourceError if the server does not take one of them."""
        request = _REQUEST.format(host=self._host, port=self._port).encode()
        with selectors.DefaultSelector() as selector:
            for serial in serials:
                opened = socket.create_connection((self._host, self._port), PATIENCE_S)
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                opened.sendall(request)
                self._sockets[serial] = opened
                selector.register(opened, selectors.EVENT_READ)
            waiting = len(serials)
            while waiting:
                ready = selector.select(PATIENCE_S)
                if not ready:
                    raise SourceError("the server does not answer")
                for key, _ in ready:
                    sock = key.fileobj
                    assert isinstance(sock, socket.socket)
                    answer = sock.recv(4096)
                    if not answer.startswith(b"HTTP/1.1 101"):
                        raise SourceError(f"the server answers {answer[:40]!r}")
                    selector.unregister(sock)
                    sock.settimeout(None)  # with one, Python itself waits, whatever a call asks for
                    waiting -= 1

    def _call(self, serial: int) -> str:
        return f"call-{int(self._plan.ssrc[serial]):08x}"

    def send(self, serial: NDArray[np.int64], packet: NDArray[np.int64]) -> None:
        """Send messages (m,) of calls (m,)."""
        if time.monotonic() > self._look:
            self._look = time.monotonic() + LOOK_S
            for one in self._sockets:
                self._answer(one)
        for one, number in zip(serial.tolist(), packet.tolist(), strict=True):
            for data in self._messages(one, number):
                self._put(one, data)

    def _messages(self, serial: int, number: int) -> Iterator[bytes]:
        call = self._call(serial)
        if serial not in self._sockets:
            self._open([serial])
        if number == 0:
            form = '{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1}'
            yield frame(
                f'{{"event":"start","sequenceNumber":"1","streamSid":"MZ{call}","start":{{"callSid":"{call}",'
                f'"tracks":["inbound"],"mediaFormat":{form}}}}}'
            )
        said = self._said[(self._offset[serial] + number) % len(self._said)]
        self.sent += 1
        yield frame(
            f'{{"event":"media","sequenceNumber":"{number + 2}","streamSid":"MZ{call}","media":{{"track":"inbound",'
            f'"chunk":"{number + 1}","timestamp":"{number * self._ms}","payload":"{said}"}}}}'
        )

    def _put(self, serial: int, data: bytes) -> None:
        try:
            self._sockets[serial].sendall(data)
        except OSError:
            self.failed += 1

    def _answer(self, serial: int) -> None:
        """Answer the server's pings, which are all that it says."""
        try:
            data = self._sockets[serial].recv(4096, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            self.failed += 1
            return
        while len(data) >= 2 and len(data) >= 2 + data[1]:
            said, data = data[2 : 2 + data[1]], data[2 + data[1] :]
            self._put(serial, b"\x8a" + bytes([0x80 | len(said)]) + bytes(4) + said)

    def goodbye(self, serials: NDArray[np.int64]) -> None:
        """End these calls."""
        for serial in serials.tolist():
            if serial not in self._sockets:
                continue
            self._answer(serial)
            self._put(serial, frame(f'{{"event":"stop","streamSid":"MZ{self._call(serial)}","stop":{{}}}}'))
            self._sockets.pop(serial).close()
