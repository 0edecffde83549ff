"""Packets of payload types that cannot be decoded: their senders, and advice for the operator.

Knows names and numbers of formats; nothing of calls.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.rtp.batch import unpack_address
from streamcab.rtp.codec import NAMES
from streamcab.rtp.cursor import difference
from streamcab.rtp.packet import Fate, Headers

REMEMBERED = 1000
"""Sources and types that are remembered."""
LOOKED_AT = 64
"""Packets per batch that are examined."""
FEW = 3
"""Packets before anything is reported: a single one may be garbage."""
STATIC = {
    3: "GSM", 4: "G.723", 5: "DVI4", 6: "DVI4", 7: "LPC", 12: "QCELP", 14: "MPEG audio", 15: "G.728", 16: "DVI4",
    17: "DVI4", 18: "G.729", 25: "CelB video", 26: "JPEG video", 28: "video", 31: "H.261 video", 32: "MPEG video",
    33: "MPEG transport", 34: "H.263 video",
}  # fmt: skip
"""Payload types of RFC 3551 that streamcab does not decode."""


@dataclass
class Stranger:
    """A source and a payload type, with the properties of its newest packets that identify the format."""

    host: str
    port: int
    kind: int
    fate: Fate
    count: int = 0
    size: int = 0
    sequence: int = 0
    time: int = 0
    ticks: int = 0
    """Ticks between two consecutive packets."""
    told: bool = False
    last: float = 0.0
    """Monotonic time of its newest packet."""

    def note(self, size: int, sequence: int, time: int) -> None:
        """Record one of the first packets."""
        if self.count and (sequence - self.sequence) % 65536 == 1:
            self.ticks = difference(time, self.time)
        self.count, self.size, self.sequence, self.time = self.count + 1, size, sequence, time

    def in_words(self) -> str:
        """Describe the format, and what to do."""
        what = f"payload type {self.kind}"
        if self.fate == Fate.NO_DECODER:
            return f"{what} needs PyAV: `pip install streamcab[codecs]`"
        if self.kind in STATIC:
            heard = ", ".join(
                name.replace("G722", "G.722").capitalize() if name == "OPUS" else name for name in NAMES
            )
            return f"{STATIC[self.kind]} ({self.kind}) cannot be decoded here: have it send another codec ({heard})"
        measured = f"{self.size} bytes and {self.ticks} ticks a packet"
        guess = self._guess()
        if guess:
            return (
                f"{what} is not known here: {measured} look like {guess}; if so, `--pt {self.kind}={guess}`"
            )
        return (
            f"{what} is not known here ({measured}): its SDP says what it is; type `--pt {self.kind}=NAME/CLOCK`, "
            f"as in --pt {self.kind}=opus/48000/2, or have it send PCMU"
        )

    def _guess(self) -> str:
        """Return the format that its size and clock fit, or empty."""
        if self.ticks <= 0:
            return ""
        if self.size == 2 * self.ticks and self.ticks in (80, 160, 240, 320, 480, 640, 960):
            # 20 ms is by far the most common packet length.
            return f"L16/{50 * self.ticks}"
        if self.size == self.ticks and self.ticks % 80 == 0:
            return "PCMU/8000"
        if self.ticks in (480, 960, 1920, 2880) and self.size < self.ticks // 2:
            return "opus/48000/2"
        return ""


class Strangers:
    """Senders of payload types that cannot be decoded."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, int], Stranger] = {}

    def note(self, rows: NDArray[np.intp], name: NDArray[np.uint64], headers: Headers, now: float) -> None:
        """Record the packets in these rows of a batch, whose types cannot be decoded."""
        for row in rows[:LOOKED_AT].tolist():
            key = name[row].tobytes(), int(headers.kind[row])
            stranger = self._known.get(key)
            if stranger is None:
                if len(self._known) >= REMEMBERED:
                    continue
                stranger = self._known[key] = Stranger(
                    *unpack_address(key[0]), key[1], Fate(int(headers.fate[row]))
                )
            stranger.last = now
            if stranger.count < FEW + 2:
                stranger.note(int(headers.size[row]), int(headers.sequence[row]), int(headers.time[row]))

    def since(self, then: float) -> list[str]:
        """Describe the types that arrived since monotonic time `then`, without naming a sender."""
        return sorted({s.in_words() for s in self._known.values() if s.last > then and s.count >= FEW})

    def untold(self) -> list[Stranger]:
        """Return the senders that have not been reported yet."""
        new = [s for s in self._known.values() if not s.told and s.count >= FEW]
        for stranger in new:
            stranger.told = True
        return new
