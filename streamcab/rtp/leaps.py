"""Packets whose number and timestamp have both leapt: kept until others follow them to the same place.

A single packet of this kind is stray, or comes from another sender with the same address, port and SSRC (a collision,
RFC 3550 section 8.2). Several in a row, without other packets between them, mean that the sender has restarted, or that
another call has the same port and SSRC. Knows nothing of their further processing.
"""

from dataclasses import dataclass

from streamcab.rtp.batch import Batch
from streamcab.rtp.cursor import difference
from streamcab.rtp.packet import Headers

ENOUGH = 5
"""Packets in a row that are accepted."""
FOLLOWS = 256
"""Largest difference of sequence numbers between two of them."""
NEAR_S = 3.0
"""Largest difference of timestamps between two of them, in seconds."""


@dataclass(frozen=True)
class Kept:
    """One datagram, with the fields of its header."""

    data: bytes
    name: bytes
    """The source's sockaddr."""
    port: int
    """Index of the socket."""
    sequence: int
    time: int
    clock: int
    arrived: float


def copy(batch: Batch, headers: Headers, row: int, now: float, clock: int = 0) -> Kept:
    """Return a copy of one datagram of a batch, which outlives the batch."""
    data = batch.data[row, : int(batch.length[row])].tobytes()
    number, time = int(headers.sequence[row]), int(headers.time[row])
    return Kept(data, batch.name[row].tobytes(), int(batch.port[row]), number, time, clock, now)


class Leaps:
    """The kept packets, by slot."""

    def __init__(self) -> None:
        self._kept: dict[int, list[Kept]] = {}

    def __bool__(self) -> bool:
        return bool(self._kept)

    def offer(self, slot: int, packet: Kept) -> tuple[list[Kept], int]:
        """Add a packet that has leapt; return the packets that are now accepted, in order, and the number given up."""
        kept = self._kept.get(slot, [])
        given_up = 0
        if kept and not _follows(packet, kept[-1]):
            given_up, kept = len(kept), []
        kept = self._kept[slot] = [*kept, packet]
        return (self._kept.pop(slot), given_up) if len(kept) >= ENOUGH else ([], given_up)

    def newest(self) -> dict[int, tuple[int, int]]:
        """Return number and timestamp of the newest kept packet, by slot."""
        return {slot: (kept[-1].sequence, kept[-1].time) for slot, kept in self._kept.items()}

    def settle(self, slots: set[int]) -> list[tuple[int, int]]:
        """Give up the kept packets of slots with regular packets, or with ended calls; return their number by slot."""
        return [(slot, len(self._kept.pop(slot))) for slot in self._kept.keys() & slots]


def _follows(packet: Kept, before: Kept) -> bool:
    numbers = (packet.sequence - before.sequence) % 65536
    ticks = difference(packet.time, before.time)
    return 0 < numbers < FOLLOWS and abs(ticks) <= NEAR_S * packet.clock and packet.clock == before.clock
