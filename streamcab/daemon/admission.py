"""Who is let in: new streams wait until there is time for them, and those that end while they wait were refused.

Knows nothing of the feed, of threads or of what a stream costs.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator
from math import inf

from streamcab.daemon.capacity import Capacity
from streamcab.daemon.duty import Duty
from streamcab.daemon.streams import StreamTable
from streamcab.source import Line, Source

log = logging.getLogger("streamcab.daemon")

WARN_S = 10.0
"""Seconds between two warnings."""

REFUSALS = {
    "refused-full": "all streams are taken (--max-streams)",
    "refused-overload": "the machine has no time for more streams; they wait for it, unheard",
}
"""Reasons for refusing new streams: names of counters, and their meaning."""


class Admission:
    """The streams that wait. `refused` counts, by reason, those that were never heard."""

    def __init__(self, streams: StreamTable, capacity: Capacity, duty: Duty) -> None:
        self._streams, self._capacity, self._duty = streams, capacity, duty
        self._waiting: deque[tuple[Source, Line]] = deque()
        self._warned = -inf
        self.refused: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, source: Source, line: Line) -> None:
        """A source has a new stream."""
        self._waiting.append((source, line))

    def admitted(self, late: bool, now: float, name: Callable[[Line], str]) -> Iterator[tuple[Source, Line]]:
        """The streams for which there is time now, the longest waiting first; each joins before the next is asked for.

        Args:
            late: visits are late already.
            now: monotonic time.
            name: how a stream is called in the log.
        """
        full = late
        for _ in range(len(self._waiting)):
            source, line = self._waiting.popleft()
            if not self._streams.free:
                self._refuse("refused-full", source, line, now, name)
            # Sources that can wait make no stream late.
            elif not source.live or not (full := full or not self._room(now)):
                yield source, line
            elif line.bank.ended[line.row]:
                self._refuse("refused-overload", source, line, now, name)
            else:
                self._waiting.append((source, line))
                self._warn("refused-overload", line, now, name)

    def _room(self, now: float) -> bool:
        """Return whether there is time for one more stream; another one rests for it where it must."""
        room = self._capacity.streams
        if self._duty.hearing + 1 <= room:
            return True
        return self._duty.sustained() + 1 <= room and self._duty.make_room(now)

    def _refuse(self, why: str, source: Source, line: Line, now: float, name: Callable[[Line], str]) -> None:
        self.refused[why] += 1
        self._warn(why, line, now, name)
        source.release(line)

    def _warn(self, why: str, line: Line, now: float, name: Callable[[Line], str]) -> None:
        if now - self._warned > WARN_S:
            self._warned = now
            log.warning("%s and perhaps others are not heard: %s", name(line), REFUSALS[why])

    def in_words(self) -> str:
        """Return a message to the operator; empty if no stream waits."""
        n = len(self._waiting)
        return f"{n} stream{'s wait' if n > 1 else ' waits'} for the machine to have time" if n else ""
