"""Whose turn it is: streams are visited a slice at a time, each once in a period, the longest waiting
first.

A slice is answered before the next one is heard, so however many streams there are, each is answered from
audio that is as fresh as its own slice is quick. In time, slices are small; late, they grow, and cost less a
stream. When the machine cannot keep up at all, the periods stretch by themselves and every visit finds more
to do at once; `behind` tells by how much. Knows nothing of clocks, threads or audio: times are handed in.
"""

import numpy as np
from numpy.typing import NDArray

from streamcab.daemon.streams import StreamTable

SLICE = 512
"""Streams per turn at most. The longer the turns, the less is lost between them, and the staler is the audio."""
GATHER = 128
"""Streams for which a turn is worth its while: with fewer due, those that are nearly due come along."""
NEVER = np.inf


class Scheduler:
    """The turns of the streams of a table, each visited every `period_s` seconds, `most` at a time."""

    def __init__(self, streams: StreamTable, period_s: float, most: int = SLICE) -> None:
        self._streams, self.period_s, self.most = streams, period_s, most

    def take(self, now: float) -> NDArray[np.intp]:
        """The slots whose turn it is, at most a slice of them."""
        if self.wait(now) > 0:
            return np.zeros(0, np.intp)
        turn = self._streams.turn
        # Those that are nearly due come along: few streams fall into one step, many stay spread.
        slack = self.period_s / max(len(self._streams) / min(self.most, GATHER), 1.0)
        due = np.flatnonzero(turn <= now + slack)
        if len(due) > self.most:
            due = np.sort(due[np.argpartition(turn[due], self.most)[: self.most]])
        paced = due[self._streams.paced[due]]
        # Not from when it was due: what is late is late, and need not be made up for.
        turn[paced] = np.maximum(turn[paced] + self.period_s, now + self.period_s / 2)
        return due

    def behind(self, now: float) -> float:
        """Seconds by which the latest visit is overdue."""
        return max(now - float(self._streams.turn[self._streams.paced].min(initial=NEVER)), 0.0)

    def wait(self, now: float) -> float:
        """Seconds until the next turn; infinite without streams."""
        return max(float(self._streams.turn.min(initial=NEVER)) - now, 0.0)


class Load:
    """Whether there is more to do than can be done: late by more than `budget_s`, for `patience_s` on end."""

    def __init__(self, budget_s: float, patience_s: float) -> None:
        self.budget_s, self._patience_s = budget_s, patience_s
        self._since: float | None = None
        self._behind_s = 0.0
        self.high = False

    def note(self, behind_s: float, now: float) -> None:
        """Visits are `behind_s` late."""
        self._behind_s = behind_s
        # It stays high until visits are in time by a good margin, lest it flutter.
        late = behind_s > (self.budget_s / 2 if self.high else self.budget_s)
        if late == self.high:
            self._since = None
        elif self._since is None:
            self._since = now
        elif now - self._since >= self._patience_s:
            self.high, self._since = late, None

    def in_words(self) -> str:
        """What an operator should know; empty when all is well."""
        if not self.high:
            return ""
        late = f"{self._behind_s * 1000:.0f} ms"
        return f"overloaded: streams wait {late} too long for their turn; newcomers are refused"
