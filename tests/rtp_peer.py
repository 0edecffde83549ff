"""The other end of RTP, for tests: packets as senders make them, and a reader of what was heard."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from patience import until

from streamcab.audio.ring import Bank
from streamcab.rtp.batch import Batch
from streamcab.rtp.codec import STATIC, Encoding
from streamcab.rtp.events import CallStarted
from streamcab.rtp.intake import Intake
from streamcab.rtp.payload import PayloadTypes
from streamcab.source import Line
from streamcab.source.rtp import RtpSource

HERE = ("127.0.0.1", 4000)
PLAIN = {number: encoding for number, encoding in STATIC.items() if not encoding.stateful}


def packet(
    sequence: int, time: int, payload: bytes, *, ssrc: int = 0x1234, kind: int = 0, marker: bool = False
) -> bytes:
    """One RTP packet; sequence and time wrap by themselves."""
    head = (0x80, kind | 0x80 * marker, sequence % 65536, time % 2**32, ssrc)
    return struct.pack(">BBHII", *head) + payload


def bye(*ssrcs: int) -> bytes:
    """An RTCP compound packet as RFC 3550 wants it: an empty receiver report, then the goodbye."""
    report = struct.pack(">BBHI", 0x80, 201, 1, ssrcs[0])
    return report + struct.pack(f">BBH{len(ssrcs)}I", 0x80 | len(ssrcs), 203, len(ssrcs), *ssrcs)


def sdes(ssrc: int, cname: bytes) -> bytes:
    """An RTCP compound packet that names its sender."""
    chunk = struct.pack(">I", ssrc) + bytes([1, len(cname)]) + cname
    chunk += bytes(4 - len(chunk) % 4)
    report = struct.pack(">BBHI", 0x80, 201, 1, ssrc)
    return report + struct.pack(">BBH", 0x81, 202, len(chunk) // 4) + chunk


@dataclass
class Talker:
    """A sender of G.711 with a sequence number and a clock; `say` makes its next packet."""

    ssrc: int = 0x1234
    kind: int = 0
    sequence: int = 65530
    time: int = 2**32 - 1000
    source: tuple[str, int] = HERE

    def say(self, payload: bytes, samples: int | None = None) -> tuple[bytes, tuple[str, int]]:
        made = packet(self.sequence, self.time, payload, ssrc=self.ssrc, kind=self.kind)
        self.sequence += 1
        self.time += len(payload) if samples is None else samples
        return made, self.source


def intake(slots: int = 8, encodings: dict[int, Encoding] | None = None, **options: object) -> Intake:
    """An intake of the codecs that need nothing else."""
    types = PayloadTypes(PLAIN if encodings is None else encodings, {})
    return Intake(types, slots, **options)  # type: ignore[arg-type]


def feed(into: Intake, datagrams: list[tuple[bytes, tuple[str, int]]], now: float, port: int = 0) -> None:
    """One batch."""
    if datagrams:
        into.feed(Batch.of(datagrams, port), now)


def started(into: Intake) -> list[CallStarted]:
    """The calls announced so far."""
    return [event for event in into.events if isinstance(event, CallStarted)]


def heard(bank: Bank, row: int, start: int = 0) -> NDArray[np.float32]:
    """Everything that a reader may have of a row from `start` on."""
    return bank.read(np.array([row]), np.array([start]), int(bank.written[row]) - start)[0]


class Listener:
    """A started source with the lines it has told so far."""

    def __init__(self, source: RtpSource) -> None:
        self.source = source
        self.lines: list[Line] = []

    def calls(self, count: int) -> list[Line]:
        """The first `count` lines, as soon as there are so many."""

        def told() -> bool:
            self.lines += self.source.streams()
            return len(self.lines) >= count

        until(told, f"{count} calls, having {len(self.lines)}: {self.source.counters()}")
        return self.lines

    @property
    def port(self) -> int:
        """Of the first address."""
        return int(self.source.addresses[0].rpartition(":")[2])

    def counted(self, name: str, count: int) -> None:
        """Wait for a counter."""
        until(lambda: self.source.counters()[name] >= count, f"{name} = {count}: {self.source.counters()}")


@contextmanager
def listening(*binds: str, **options: object) -> Iterator[Listener]:
    """A source that listens on ports of the system's choice."""
    source = RtpSource(binds or ("127.0.0.1:0",), **{"max_streams": 16, **options})  # type: ignore[arg-type]
    source.start()
    try:
        yield Listener(source)
    finally:
        source.close()


@contextmanager
def sending(host: str = "127.0.0.1", port: int = 0) -> Iterator[socket.socket]:
    """A socket to send from."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((host, port))
        yield sock
