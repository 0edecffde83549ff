"""Payloads that need a decoder wait here, in order, until nothing can come before them. Bounded per call.

Knows positions as given; nothing of threads or sockets.
"""

from streamcab.rtp.codec import Encoding

HELD = 256
"""Payloads kept per call: seconds of them, where the look-back is milliseconds."""

Packet = tuple[int, int, Encoding, bytes]
"""Position, samples expected, format, payload."""


class DecodeQueue:
    """Waiting payloads by slot and position."""

    def __init__(self) -> None:
        self._waiting: dict[int, dict[int, tuple[int, Encoding, bytes]]] = {}

    def keep(self, slot: int, position: int, samples: int, encoding: Encoding, payload: bytes) -> bool:
        """Whether there was room."""
        queue = self._waiting.setdefault(slot, {})
        if len(queue) >= HELD:
            return False
        queue[position] = (samples, encoding, payload)
        return True

    def due(self, slot: int, upto: int) -> list[Packet]:
        """Take out what begins before position `upto`, in order."""
        queue = self._waiting.get(slot, {})
        return [(position, *queue.pop(position)) for position in sorted(p for p in queue if p < upto)]

    def shift(self, slot: int, by: int) -> None:
        """Positions of a call are counted from `by` from now on."""
        queue = self._waiting.get(slot, {})
        self._waiting[slot] = {position - by: packet for position, packet in queue.items()}

    def hand_on(self, slot: int, heir: int, by: int) -> None:
        """What waits for a call waits for another one now, positions counted from `by`."""
        queue = self._waiting.setdefault(heir, {})
        for position, packet in self._waiting.pop(slot, {}).items():
            queue[position - by] = packet

    def forget(self, slot: int) -> None:
        """The call is gone."""
        self._waiting.pop(slot, None)
