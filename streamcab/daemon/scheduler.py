"""Schedules streams in slices: each stream is visited once in a period, the longest waiting first.

A slice is answered before the next but one is processed, so the delay of an answer depends on its own slice and not on
the number of streams. Slices are small while the daemon is in time: many streams form cohorts, each with its own moment
in the period, so that every visit finds as much audio as the last one. When it is late slices grow, and cost less a
stream.
If the machine cannot keep up, the periods stretch and each visit finds more to do; `behind` returns by how much.
Knows nothing of clocks, threads or audio: times are passed in.
"""

import numpy as np
from numpy.typing import NDArray

from streamcab.daemon.streams import StreamTable

SLICE = 512
"""Streams per turn at most. Longer turns cost less per stream, and their audio is older."""
CHECK_S = 1.0
"""Seconds between visits to a stream that rests."""
GATHER = 128
"""Streams that make a turn worthwhile: so many share one turn in each period, and cohorts have as many at most."""
SHRINK = 0.8
"""How full cohorts must be for one fewer to do: each change of their number makes some visits uneven."""
NEVER = np.inf


class Scheduler:
    """Schedules the streams of a table: each is visited every `period_s` seconds, at most `most` at a time."""

    def __init__(self, streams: StreamTable, period_s: float, most: int = SLICE) -> None:
        self._streams, self.period_s, self.most = streams, period_s, most
        self._cohorts = 1
        self._closing: NDArray[np.bool_] = streams.column(np.bool_)

    def take(self, now: float) -> NDArray[np.intp]:
        """Return the slots that are due, at most one slice."""
        if len(self._streams) > GATHER:
            self._close_together(now)
        self._divide()
        if self.wait(now) > 0:
            return np.zeros(0, np.intp)
        turn, few = self._streams.turn, self._cohorts == 1
        # Nearly due streams join where they are few.
        due = np.flatnonzero(turn <= now + self.period_s if few else self._moments() <= now)
        # Streams that came to be due together are not answered together: each slice waits for its own streams only.
        late = self.behind(now) > self.period_s / 2
        most = self.most if late else min(self.most, GATHER)
        if len(due) > most:
            order = np.argpartition(turn[due], most)
            due, more = np.sort(due[order[:most]]), due[order[most:]]
            if not late and not few:
                # They belong to the next cohort from now on.
                turn[more[self._streams.paced[more]]] += self.period_s / self._cohorts
        paced = due[self._streams.paced[due]]
        # A delay need not be made up for; the moment within the period stays the same.
        periods = np.ceil((now - turn[paced]) / self.period_s + 0.25)
        turn[paced] += self.period_s * np.maximum(periods, 1)
        # All that rest are looked at together: one pass over many costs little.
        turn[due[self._streams.resting[due]]] = (now // CHECK_S + 1) * CHECK_S
        return due

    def first(self, now: float) -> float:
        """Return when a stream that begins now has its first turn: with all others, where they are few, since a turn of
        its own would cut theirs in two."""
        wait = self.wait(now)
        return now + wait if self._cohorts == 1 and wait <= self.period_s else now

    def _divide(self) -> None:
        """Choose the number of cohorts."""
        awake = len(self._streams) - int(np.count_nonzero(self._streams.resting))
        most = min(self.most, GATHER)
        if awake > most * self._cohorts or awake < SHRINK * most * (self._cohorts - 1):
            self._cohorts = max(-(-awake // most), 1)

    def _moments(self) -> NDArray[np.float64]:
        """Return when the cohort of each slot has its turn: the moment of the period that is nearest to its own."""
        streams = self._streams
        if self._cohorts == 1:
            return streams.turn
        apart = self.period_s / self._cohorts
        # What never has a turn stays infinite, and what always has one stays in the past.
        moments: NDArray[np.float64] = np.where(
            streams.paced, np.rint(streams.turn / apart) * apart, streams.turn
        )
        return moments

    def _close_together(self, now: float) -> None:
        """Give streams that have ended one turn in each period: alone, each costs several times as much."""
        slots = self._streams.slots
        slots = slots[self._streams.paced[slots] & ~self._closing[slots]]
        over = slots[self._streams.over(slots)]
        self._closing[over] = True
        self._streams.turn[over] = (now // self.period_s + 1) * self.period_s

    def behind(self, now: float) -> float:
        """Return the seconds by which the most overdue visit is late."""
        return max(now - float(self._moments()[self._streams.paced].min(initial=NEVER)), 0.0)

    def wait(self, now: float) -> float:
        """Return the seconds until the next turn; infinite without streams."""
        return max(float(self._moments().min(initial=NEVER)) - now, 0.0)


class Load:
    """Detects overload: visits late by more than `budget_s` for `patience_s` without a break."""

    def __init__(self, budget_s: float, patience_s: float) -> None:
        self.budget_s, self._patience_s = budget_s, patience_s
        self._since: float | None = None
        self._behind_s = 0.0
        self.high = False

    def note(self, behind_s: float, now: float) -> None:
        """Record that visits are `behind_s` seconds late."""
        self._behind_s = behind_s
        # Hysteresis: it stays high until visits are in time by a good margin.
        late = behind_s > (self.budget_s / 2 if self.high else self.budget_s)
        if late == self.high:
            self._since = None
        elif self._since is None:
            self._since = now
        elif now - self._since >= self._patience_s:
            self.high, self._since = late, None

    def in_words(self) -> str:
        """Return a message to the operator; empty without overload."""
        if not self.high:
            return ""
        late = f"{self._behind_s * 1000:.0f} ms"
        return f"overloaded: streams wait {late} too long for their turn; new streams wait"
