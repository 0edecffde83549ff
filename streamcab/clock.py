"""The time: the machine's, or one that a rehearsal sets (soak/rehearsal.py).

Durations are measured by the monotonic clock alone. The wall clock, which may be stepped back and forth at any moment,
only dates messages. Knows nothing of what is timed.
"""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """What the daemon asks of time."""

    def monotonic(self) -> float:
        """Seconds that only go forward, from an unknown start."""

    def time(self) -> float:
        """Unix seconds."""

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
