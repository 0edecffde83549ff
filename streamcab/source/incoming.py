"""The parts that all sources of calls share. Callers come at any time, and wait for nobody."""

import threading
from collections import deque
from collections.abc import Iterator

from streamcab.source.line import Line

LEAD_S = 0.005
"""Ticks are so long before multiples of themselves: the loop's visits, many of which are at those, find as much audio
each time. An interval more or less than eight costs steps of one and of two."""


def until_tick(tick_s: float, now: float) -> float:
    """Return the seconds from monotonic time `now` to the next tick of a source."""
    return tick_s - (now + LEAD_S) % tick_s


class Incoming:
    """A source that ends only when it is closed."""

    live = True

    def __init__(self) -> None:
        self._stop = threading.Event()

    @property
    def done(self) -> bool:
        """Only when closed: another call may come at any time."""
        return self._stop.is_set()


class Handover:
    """Lines on their way between the thread of a source and that of its reader: new ones, and those released."""

    def __init__(self) -> None:
        self._begun: deque[Line] = deque()
        self._released: deque[Line] = deque()

    def begin(self, line: Line) -> None:
        """Announce a line to the reader."""
        self._begun.append(line)

    def begun(self) -> list[Line]:
        """Return the lines that have begun since the last time."""
        return [*_taken(self._begun)]

    def release(self, line: Line) -> None:
        """Tell the source that the reader has done with a line."""
        self._released.append(line)

    def released(self) -> Iterator[Line]:
        """Yield the lines that were released since the last time."""
        return _taken(self._released)


def _taken(queue: deque[Line]) -> Iterator[Line]:
    while queue:  # another thread appends
        yield queue.popleft()
