"""Admission: the call that each datagram belongs to. Unknown callers get a slot while there are free ones.

Knows nothing of positions, rings or the reader.
"""

import numpy as np
from numpy.typing import NDArray

from streamcab.rtp.batch import Batch
from streamcab.rtp.channels import SHIFT
from streamcab.rtp.lifecycle import REMEMBERED, Lifecycle
from streamcab.rtp.packet import Fate, Headers
from streamcab.rtp.payload import PayloadTypes
from streamcab.rtp.table import State, key_words

Column = NDArray[np.int64]


class Admission:
    """Finds and assigns slots.

    refused  port, SSRC and (IPv4) address of callers for whom there was no slot, until the reader clears it
    evicted  calls on probation that made room for others
    """

    def __init__(self, types: PayloadTypes, calls: Lifecycle, each: bool) -> None:
        """`each`: every channel of a packet is a call of its own."""
        self.refused: set[tuple[int, int]] = set()
        self.evicted = 0
        self._types, self._calls, self._table, self._each = types, calls, calls.table, each

    def known(
        self, batch: Batch, headers: Headers, rows: NDArray[np.intp], port: Column
    ) -> NDArray[np.bool_]:
        """Return whether there are calls of these rows (m,) of a batch, at these ports (m,)."""
        words = key_words(batch.name[rows], headers.ssrc[rows], port)
        there: NDArray[np.bool_] = self._table.match(words, batch.wide) >= 0
        return there

    def match(self, batch: Batch, headers: Headers, now: float) -> Column:
        """Return the slot of each datagram (n,), -1 for none; unknown senders of audio are admitted."""
        fate = headers.fate
        words = key_words(batch.name, headers.ssrc, batch.port)
        slot = self._table.match(words, batch.wide)
        if slot.min() >= 0:
            return slot
        audio = fate == Fate.ACCEPTED
        unknown = np.flatnonzero(audio & (slot < 0))
        if len(unknown):
            self._admit(batch, headers, unknown, now)
            slot = self._table.match(words, batch.wide)
            full = audio & (slot < 0)
            fate[full] = Fate.REFUSED_FULL
            if len(self.refused) < REMEMBERED:
                self.refused.update(zip(words[0][full].tolist(), words[4][full].tolist(), strict=True))
        return slot

    def _admit(self, batch: Batch, headers: Headers, rows: NDArray[np.intp], now: float) -> None:
        """Assign slots to the unknown senders of these rows, while there are free ones."""
        words = key_words(batch.name[rows], headers.ssrc[rows], batch.port[rows])
        before = self._table.state.copy()
        taken = self._table.admit(words, batch.wide, self._types.form[headers.kind[rows]], now)
        self.evicted += int(np.count_nonzero(before[taken] == State.PROBATION))
        slot = self._table.match(words, batch.wide)
        slot, first = np.unique(slot, return_index=True)  # the first packet of each caller
        slot, rows = slot[slot >= 0], rows[first[slot >= 0]]
        clock = self._types.clock[headers.kind[rows]]
        channel = batch.port[rows] >> SHIFT if self._each else None
        self._calls.begin(slot, headers.sequence[rows], headers.time[rows], clock, now, channel)
