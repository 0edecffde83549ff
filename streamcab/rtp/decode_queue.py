"""Payloads that need a decoder wait here, in order, until nothing can come before them. Bounded per call.

Knows positions as given; nothing of codecs, threads or sockets.
"""

HELD = 256
"""Payloads kept per call: seconds of them, where the look-back is milliseconds."""

Packet = tuple[int, int, bytes]
"""Position, samples expected, payload."""


class DecodeQueue:
    """Waiting payloads by slot and position."""

    def __init__(self) -> None:
        self._waiting: dict[int, dict[int, tuple[int, bytes]]] = {}

    def keep(self, slot: int, position: int, samples: int, payload: bytes) -> bool:
        """Whether there was room."""
        queue = self._waiting.setdefault(slot, {})
        if len(queue) >= HELD:
            return False
        queue[position] = (samples, payload)
        return True

    def due(self, slot: int, upto: int) -> list[Packet]:
        """Take out what begins before position `upto`, in order."""
        queue = self._waiting.get(slot, {})
        return [(position, *queue.pop(position)) for position in sorted(p for p in queue if p < upto)]

    def shift(self, slot: int, by: int) -> None:
        """Positions of a call are counted from `by` from now on."""
        queue = self._waiting.get(slot, {})
        self._waiting[slot] = {position - by: packet for position, packet in queue.items()}

    def forget(self, slot: int) -> None:
        """The call is gone."""
        self._waiting.pop(slot, None)
