"""Detects the end of calls: no more packets arrive, or a goodbye (RTCP BYE) came and the sender has stopped.

Only reads a table and ends no call itself. Knows nothing of packets or rings.
"""

import numpy as np
from numpy.typing import NDArray

from streamcab.rtp.batch import unpack_address
from streamcab.rtp.rtcp import Bye
from streamcab.rtp.table import State, Table

GOODBYE_S = 1.0
"""Seconds without a packet after a goodbye until a call is over. If packets continue, the call was put on hold, its
track was replaced, or the goodbye belonged to another call."""
PROBATION_S = 2.0
"""Seconds without another packet until a call on probation is dropped."""


class Endings:
    """Detects the end of the calls of a table."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._said = np.full(table.slots, np.inf)  # monotonic time of a goodbye

    def begin(self, slot: NDArray[np.int64]) -> None:
        """Start calls."""
        self._said[slot] = np.inf

    def said(self, slot: int) -> bool:
        """Return whether a goodbye has arrived and not been cancelled."""
        return bool(np.isfinite(self._said[slot]))

    def goodbye(self, bye: Bye, port: int, now: float) -> None:
        """Record a goodbye. RTCP may come from another port than the audio: the same or the next port is certain; any
        other is accepted if only one sender has this SSRC at this address.
        """
        table = self._table
        live = (table.state == State.LIVE) & (table.ssrc == np.uint32(bye.ssrc))
        sources = {slot: unpack_address(table.name(slot)) for slot in np.flatnonzero(live).tolist()}
        here = [slot for slot, (host, _) in sources.items() if host == bye.host]
        sure = [slot for slot in here if sources[slot][1] in (port, port - 1)]
        for slot in sure or (here if len({sources[slot] for slot in here}) == 1 else []):
            self._said[slot] = min(self._said[slot], now)

    def due(self, now: float, idle_s: float) -> list[tuple[int, str]]:
        """Return the slots of calls that are over, and the reasons."""
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
        """Return the slots whose senders have not sent enough packets to be calls."""
        table = self._table
        return np.flatnonzero((table.state == State.PROBATION) & (now - table.last >= PROBATION_S))
