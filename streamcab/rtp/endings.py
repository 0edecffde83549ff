"""When calls are over: nobody sends any more, or somebody said goodbye and has stopped.

Looks at a table; ends nothing. Knows nothing of packets or rings.
"""

import numpy as np
from numpy.typing import NDArray

from streamcab.rtp.batch import unpack_address
from streamcab.rtp.rtcp import Bye
from streamcab.rtp.table import State, Table

GOODBYE_S = 1.0
"""After a goodbye, a call without a packet for so long is over. One that goes on was put on hold, or its track
replaced, or the goodbye was of another one."""
PROBATION_S = 2.0
"""Without another packet for so long there is no call."""


class Endings:
    """Of the calls of a table."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._said = np.full(table.slots, np.inf)  # monotonic time of a goodbye

    def begin(self, slot: NDArray[np.int64]) -> None:
        """Calls begin."""
        self._said[slot] = np.inf

    def said(self, slot: int) -> bool:
        """Whether a goodbye has been said and not been taken back."""
        return bool(np.isfinite(self._said[slot]))

    def goodbye(self, bye: Bye, port: int, now: float) -> None:
        """RTCP leaves by another port than the audio. The same or the next one is sure; any other will do
        for the only call with this SSRC from this address.
        """
        table = self._table
        live = (table.state == State.LIVE) & (table.ssrc == np.uint32(bye.ssrc))
        sources = {slot: unpack_address(table.name(slot)) for slot in np.flatnonzero(live).tolist()}
        here = [slot for slot, (host, _) in sources.items() if host == bye.host]
        sure = [slot for slot in here if sources[slot][1] in (port, port - 1)]
        for slot in sure or (here if len(here) == 1 else []):
            self._said[slot] = min(self._said[slot], now)

    def due(self, now: float, idle_s: float) -> list[tuple[int, str]]:
        """Slots of calls that are over, and why."""
        table, said = self._table, self._said
        live, silent = table.state == State.LIVE, now - table.last
        if np.isfinite(said).any():
            said[table.last > said + GOODBYE_S] = np.inf
            gone = live & (now - said >= GOODBYE_S) & (silent >= GOODBYE_S)
        else:
            gone = np.zeros_like(live)
        idle = live & ~gone & (silent >= idle_s)
        over = [(slot, "the sender said goodbye") for slot in np.flatnonzero(gone).tolist()]
        return over + [(slot, f"no packet for {idle_s:g} s") for slot in np.flatnonzero(idle).tolist()]

    def unproven(self, now: float) -> NDArray[np.intp]:
        """Slots whose callers have not sent enough to be calls."""
        table = self._table
        return np.flatnonzero((table.state == State.PROBATION) & (now - table.last >= PROBATION_S))
