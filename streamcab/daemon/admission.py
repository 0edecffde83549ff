"""Admission: new streams wait until there is time for them; those that end while they wait were refused.

Knows nothing of the feed, of threads or of what a stream costs.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from math import inf

import numpy as np

from streamcab.daemon.capacity import Capacity
from streamcab.daemon.duty import Duty
from streamcab.daemon.streams import Live, StreamTable, flowing
from streamcab.source import Line, Source

log = logging.getLogger("streamcab.daemon")

BALANCE_S = 0.25
"""Seconds between two looks at whether there is time for all streams."""
WARN_S = 10.0
"""Seconds between two warnings."""

REFUSALS = {
    "refused-full": "all streams are taken (--max-streams)",
    "refused-overload": "the machine has no time for more streams; they wait for it, unheard",
}
"""Reasons for refusing new streams: names of counters, and their meaning."""


def _flows(line: Line, now: float) -> bool:
    return bool(flowing(line.bank, np.array([line.row]), now)[0])


class Admission:
    """The streams that wait, those that rest, and the measure of how many can be heard.

    `refused` counts, by reason, those that were never heard.
    """

    def __init__(self, streams: StreamTable, cost: float) -> None:
        """`cost`: of a stream, as far as it is known; see Capacity."""
        self._streams, self._duty = streams, Duty(streams)
        self._capacity = Capacity()
        self._capacity.expect(cost)
        # With whether it has just come.
        self._waiting: deque[tuple[Source, Line, bool]] = deque()
        self._looked, self._full, self._new = -inf, False, False
        self._warned = self._balanced = -inf
        self.refused: Counter[str] = Counter()
        self.note = self._capacity.note

    def __len__(self) -> int:
        """Return how many streams wait."""
        return len(self._waiting)

    def balance(self, now: float, waiting_s: Callable[[], tuple[float, float]]) -> None:
        """Let streams rest, or hear them again, by what there is time for; a few times a second.

        waiting_s  returns the seconds of audio that wait, and that are held back, of the streams that are heard
        """
        if now < self._balanced + BALANCE_S:
            return
        self._balanced = now
        self._streams.look(now)
        self._capacity.measure(now, self._duty.hearing, *waiting_s())
        self._duty.balance(self._capacity.streams, now)

    def judge(self, lives: Iterable[Live], now: float) -> None:
        """Note the newest answers of some streams."""
        for live in lives:
            if live.told is not None:
                self._duty.judge(live.slot, live.told, now)

    def offer(self, source: Source, line: Line) -> None:
        """Take a source's new stream; one that waits for nobody is let in at once, also while others wait."""
        self._full, self._new = self._full and source.live, True
        self._waiting.append((source, line, True))

    def admitted(self, late: bool, now: float, name: Callable[[Line], str]) -> Iterator[tuple[Source, Line]]:
        """Yield the streams for which there is time now, the longest waiting first; each joins before the next is asked
        for.

        Args:
            late: visits are late already.
            now: monotonic time.
            name: how a stream is called in the log.
        """
        # Who has fallen silent while it waits need not be looked at in each turn either.
        if (self._full or not self._new) and now < self._looked + BALANCE_S:
            return
        self._looked, self._new = now, False
        full = late
        for _ in range(len(self._waiting)):
            source, line, new = self._waiting.popleft()
            if not self._streams.free:
                self._refuse("refused-full", source, line, now, name)
            # Sources that can wait make no stream late.
            elif not source.live or (
                # One that has fallen silent while it waited has perhaps ended.
                (new or _flows(line, now)) and not (full := full or not self._room(now))
            ):
                yield source, line
            elif line.bank.ended[line.row]:
                self._refuse("refused-overload", source, line, now, name)
            else:
                self._waiting.append((source, line, False))
                if full:
                    self._warn("refused-overload", line, now, name)
        self._full = full

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

    def in_words(self) -> Iterator[str]:
        """Yield messages to the operator: who rests, and who waits."""
        yield self._duty.in_words()
        # One that has just come is only waiting for the next look.
        n = sum(not new and _flows(line, self._balanced) for _, line, new in self._waiting)
        yield f"{n} stream{'s wait' if n > 1 else ' waits'} for the machine to have time" if n else ""
