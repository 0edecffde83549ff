"""The time: the machine's, or one that a rehearsal sets (soak/rehearsal.py).

Durations are measured by the monotonic clock alone. The wall clock, which may be stepped back and forth at any moment,
only dates messages. Knows nothing of its users.
"""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """The interface of a clock."""

    def monotonic(self) -> float:
        """Return seconds that only go forward, from an unknown start."""

    def time(self) -> float:
        """Return Unix seconds."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""

    def wait(self, event: threading.Event, seconds: float) -> None:
        """Let time pass until an event is set; `seconds` at most."""


class _Machine:
    """The clock of this machine."""

    def monotonic(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def wait(self, event: threading.Event, seconds: float) -> None:
        event.wait(seconds)


MACHINE: Clock = _Machine()


JUMP_S = 3600.0
"""A step of the wall clock that is more than a correction."""
BELIEVED_S = 3600.0


class Doubt:
    """Judges whether the wall clock can be trusted with irreversible actions: not for BELIEVED_S after a jump."""

    def __init__(self, clock: Clock = MACHINE) -> None:
        self._clock = clock
        self._believed = self._new = self._offset()
        self._since = clock.monotonic()

    def jumped_s(self) -> float:
        """Return by how much it has jumped from where it was believed; 0 when it is believed."""
        offset, now = self._offset(), self._clock.monotonic()
        if abs(offset - self._new) > JUMP_S:
            self._since = now
        self._new = offset
        if abs(offset - self._believed) <= JUMP_S or now - self._since >= BELIEVED_S:
            self._believed = offset
        return offset - self._believed

    def _offset(self) -> float:
        return self._clock.time() - self._clock.monotonic()
