"""What senders put on the wire: calls with every header field free, kept with their times and sent by them.

The sounds are the project's clips. Knows nothing of streamcab but its table of G.711.
"""

import itertools
import socket
import threading
import time
from collections.abc import Iterable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from recordings import companded, int16
from rtp_peer import bye, packet
from scipy.signal import resample_poly

Sound = NDArray[np.float64]
PACKET_S = 0.02


def cut(data: bytes, size: int) -> list[bytes]:
    """Whole pieces of `size` bytes."""
    return [data[at : at + size] for at in range(0, len(data) - size + 1, size)]


def pcmu(x: Sound) -> list[bytes]:
    """Packets of 20 ms of a sound of 8 kHz."""
    return cut(companded(x, "PCMU"), 160)


def l16(x: Sound, rate: int = 8000) -> list[bytes]:
    """The same linear, of (n,) or (n, channels)."""
    size = rate // 50 * 2 * (x.shape[1] if x.ndim > 1 else 1)
    return cut(int16(x).astype(">i2").tobytes(), size)


def at_rate(x: Sound, rate: int) -> Sound:
    """A sound of 8 kHz at another rate."""
    y: Sound = resample_poly(x, rate // 8000, 1)
    return y


def encoded(x: Sound, codec: str) -> list[bytes]:
    """The same by PyAV: `g722` or `libopus`."""
    import av

    rate = 16000 if codec == "g722" else 48000
    encoder = av.CodecContext.create(codec, "w")
    encoder.sample_rate, encoder.layout, encoder.format = rate, "mono", "s16"
    encoder.time_base = Fraction(1, rate)
    made = []
    for at, piece in enumerate(cut(int16(at_rate(x, rate)).tobytes(), rate // 50 * 2)):
        frame = av.AudioFrame.from_ndarray(np.frombuffer(piece, np.int16)[None], "s16", "mono")
        frame.sample_rate, frame.pts = rate, at * rate // 50
        made += [bytes(p) for p in encoder.encode(frame)]
    made += [bytes(p) for p in encoder.encode(None)]
    return cut(b"".join(made), 160) if codec == "g722" else made


def sentences(x: Sound, quiet_db: float = -45.0, pause_s: float = 0.4) -> list[Sound]:
    """The sentences of a talk, without the pauses between them."""
    n = 160
    power = (x[: len(x) // n * n].reshape(-1, n) ** 2).mean(1)
    loud = np.flatnonzero(10 * np.log10(power + 1e-12) > quiet_db)
    ends = np.flatnonzero(np.diff(loud) > pause_s * 50)
    first, last = loud[np.r_[0, ends + 1]], loud[np.r_[ends, len(loud) - 1]]
    return [x[max(0, (a - 5) * n) : (b + 6) * n] for a, b in zip(first, last, strict=True)]


class Wire:
    """All datagrams of some calls; each call has a port of its own."""

    def __init__(self) -> None:
        self._datagrams: list[tuple[float, int, bytes]] = []
        self._calls = itertools.count(1)

    def call(self) -> "Call":
        """Another call."""
        return Call(self, next(self._calls))

    def put(self, at: float, source: int, data: bytes) -> None:
        """A datagram that source number `source` sends `at` seconds after the start."""
        self._datagrams.append((at, source, data))

    @property
    def seconds(self) -> float:
        """Until the last of them."""
        return max(at for at, _, _ in self._datagrams)

    def send(self, port: int, stop: threading.Event) -> None:
        """Send everything to a port of the loopback, by the clock."""
        plugs: dict[int, socket.socket] = {}
        began = time.monotonic()
        try:
            for at, source, data in sorted(self._datagrams, key=lambda d: d[0]):
                if stop.wait(max(began + at - time.monotonic(), 0)):
                    return
                if source not in plugs:
                    plugs[source] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                plugs[source].sendto(data, ("127.0.0.1", port))
        finally:
            for plug in plugs.values():
                plug.close()


class Call:
    """One sender; its SSRC, number, timestamp and time may be changed between two packets."""

    def __init__(self, wire: Wire, number: int) -> None:
        self._wire, self.source = wire, number
        self.ssrc = 0xA0000000 + number * 0x100
        self.number, self.time, self.at = 100 * number, 5000 * number, 0.02 * (number % 10) / 10

    @property
    def name(self) -> str:
        """In which its stream's name ends."""
        return f"{self.ssrc:08x}"

    def say(self, some: Iterable[bytes], kind: int = 0, ticks: int = 160, off: Iterable[int] = ()) -> "Call":
        """Packets of 20 ms; `off`: by how many ticks their timestamps are wrong."""
        wrong = itertools.chain(off, itertools.repeat(0))
        for payload in some:
            made = packet(self.number, self.time + next(wrong), payload, ssrc=self.ssrc, kind=kind)
            self._wire.put(self.at, self.source, made)
            self.number, self.time, self.at = self.number + 1, self.time + ticks, self.at + PACKET_S
        return self

    def pause(self, seconds: float, ticks: bool = True) -> "Call":
        """Send nothing; timestamps go on with `ticks`."""
        self.at += seconds
        self.time += round(8000 * seconds) * ticks
        return self

    def bye(self, source: int | None = None) -> "Call":
        """Say goodbye, from the port of the audio or another one."""
        self._wire.put(self.at + 0.001, self.source if source is None else source, bye(self.ssrc))
        return self
