"""Packets whose number and timestamp have both leapt: kept until others follow them to the same place.

One such packet is a stray, or of another sender under the same address, port and SSRC (a collision, RFC 3550
section 8.2). Several on end, with none of the others between them, are a sender that has begun anew, or another call
that was given the same port and SSRC. Knows nothing of what becomes of them.
"""

from dataclasses import dataclass

from streamcab.rtp.cursor import difference

ENOUGH = 5
"""Packets on end that are believed."""
FOLLOWS = 256
"""Sequence numbers between two of them."""
NEAR_S = 3.0
"""Seconds of their timestamps between two of them."""


@dataclass(frozen=True)
class Kept:
    """One datagram, with what its header says."""

    data: bytes
    name: bytes
    """The source's sockaddr."""
    port: int
    """Index of the socket."""
    sequence: int
    time: int
    clock: int
    arrived: float


class Leaps:
    """What is kept, by slot."""

    def __init__(self) -> None:
        self._kept: dict[int, list[Kept]] = {}

    def __bool__(self) -> bool:
        return bool(self._kept)

    def offer(self, slot: int, packet: Kept) -> tuple[list[Kept], int]:
        """A packet that has leapt: those that are believed now, in order; and how many are given up."""
        kept = self._kept.get(slot, [])
        given_up = 0
        if kept and not _follows(packet, kept[-1]):
            given_up, kept = len(kept), []
        kept = self._kept[slot] = [*kept, packet]
        return (self._kept.pop(slot), given_up) if len(kept) >= ENOUGH else ([], given_up)

    def newest(self) -> dict[int, tuple[int, int]]:
        """Number and timestamp of the newest packet that is kept, by slot."""
        return {slot: (kept[-1].sequence, kept[-1].time) for slot, kept in self._kept.items()}

    def settle(self, slots: set[int]) -> list[tuple[int, int]]:
        """Packets in proportion came for these slots, or their calls are over: slot by slot, how many are given up."""
        return [(slot, len(self._kept.pop(slot))) for slot in self._kept.keys() & slots]


def _follows(packet: Kept, before: Kept) -> bool:
    numbers = (packet.sequence - before.sequence) % 65536
    ticks = difference(packet.time, before.time)
    return 0 < numbers < FOLLOWS and abs(ticks) <= NEAR_S * packet.clock and packet.clock == before.clock
