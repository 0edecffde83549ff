"""Detects calls that stall and resume, for all calls at once, and whether the network is the cause.

A sender with silence suppression sends nothing while nobody speaks, so a single stalled call is not remarkable. All of
them at the same moment are. Knows nothing of packets, lines or texts.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.rtp.table import State, Table

STALL_S = 1.0
"""Seconds without a packet after which a call has stalled."""
MANY = 8
"""This many calls do not all pause at once by chance."""


@dataclass(frozen=True)
class Change:
    """Slots (m,) of calls that have just stalled, and of calls that have resumed."""

    stalled: NDArray[np.intp]
    heard: NDArray[np.intp]


class Stalls:
    """Checks the calls of a table. `silent`: time since which none of `calls` has sent a packet; None while some do."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._stalled = np.zeros(table.slots, np.bool_)
        self.silent: float | None = None
        self.calls = 0

    def look(self, now: float) -> Change:
        """Return the changes since the last check, at monotonic time `now`."""
        table = self._table
        live = table.state == State.LIVE
        stalled = live & (now - table.last > STALL_S)
        turned = stalled != self._stalled
        # A slot without a call has no change: its end was reported.
        change = Change(np.flatnonzero(turned & stalled), np.flatnonzero(turned & live & ~stalled))
        self._stalled = stalled
        if stalled.any() and not (live & ~stalled).any():
            if self.silent is None:
                self.silent, self.calls = float(table.last[stalled].max()), int(np.count_nonzero(stalled))
        elif (live & ~stalled).any():
            self.silent = None
        return change
