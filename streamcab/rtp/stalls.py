"""Which calls have fallen silent and which speak again, of all at once; and whether that is the network's doing.

A sender with silence suppression sends nothing while nobody speaks, so one stalled call is no news. All of them at the
same moment are. Knows nothing of packets, lines or words.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.rtp.table import State, Table

STALL_S = 1.0
"""Without a packet for so long a call has stalled."""
MANY = 8
"""So many calls do not all pause at once."""


@dataclass(frozen=True)
class Change:
    """Slots (m,) of calls that have just stalled, and of those that are heard again."""

    stalled: NDArray[np.intp]
    heard: NDArray[np.intp]


class Stalls:
    """Looks at the calls of a table. `silent`: since when none of `calls` has sent a packet; None while some do."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._stalled = np.zeros(table.slots, np.bool_)
        self.silent: float | None = None
        self.calls = 0

    def look(self, now: float) -> Change:
        """What has changed since the last look, at monotonic time `now`."""
        table = self._table
        live = table.state == State.LIVE
        stalled = live & (now - table.last > STALL_S)
        turned = stalled != self._stalled
        # A slot without a call has no news: its end has been told.
        change = Change(np.flatnonzero(turned & stalled), np.flatnonzero(turned & live & ~stalled))
        self._stalled = stalled
        if stalled.any() and not (live & ~stalled).any():
            if self.silent is None:
                self.silent, self.calls = float(table.last[stalled].max()), int(np.count_nonzero(stalled))
        elif (live & ~stalled).any():
            self.silent = None
        return change
