"""The queue of payloads that need a decoder, in order, until no earlier one can arrive. Bounded per call.

Positions are given by the caller. Knows nothing of threads or sockets.
"""

from streamcab.rtp.codec import Encoding

HELD = 256
"""Payloads kept per call: seconds of audio, while the look-back is milliseconds."""

Packet = tuple[int, int, Encoding, bytes]
"""Position, samples expected, format, payload."""


class DecodeQueue:
    """Waiting payloads by slot and position."""

    def __init__(self) -> None:
        self._waiting: dict[int, dict[int, tuple[int, Encoding, bytes]]] = {}

    def keep(self, slot: int, position: int, samples: int, encoding: Encoding, payload: bytes) -> bool:
        """Queue a packet; return whether there was room."""
        queue = self._waiting.setdefault(slot, {})
        if len(queue) >= HELD:
            return False
        queue[position] = (samples, encoding, payload)
        return True

    def due(self, slot: int, upto: int) -> list[Packet]:
        """Remove and return the packets that begin before position `upto`, in order."""
        queue = self._waiting.get(slot, {})
        return [(position, *queue.pop(position)) for position in sorted(p for p in queue if p < upto)]

    def shift(self, slot: int, by: int) -> None:
        """Renumber the positions of a call: `by` becomes 0."""
        queue = self._waiting.get(slot, {})
        self._waiting[slot] = {position - by: packet for position, packet in queue.items()}

    def hand_on(self, slot: int, heir: int, by: int) -> None:
        """Move the queued packets of a call to another one, with positions counted from `by`."""
        queue = self._waiting.setdefault(heir, {})
        for position, packet in self._waiting.pop(slot, {}).items():
            queue[position - by] = packet

    def forget(self, slot: int) -> None:
        """Discard the queue of a call that has ended."""
        self._waiting.pop(slot, None)
