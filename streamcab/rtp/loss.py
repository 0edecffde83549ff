"""What never came: sequence numbers of all calls, duplicates, and the samples lost where numbers jump.

Where only the timestamp jumps, the sender was silent (RFC 3551 section 4.1) and nothing was lost. Columns
over slots, a batch at a time. Knows positions as given; nothing of timestamps, rings or formats.
"""

import numpy as np
from numpy.typing import NDArray

MAX_DROPOUT = 3000
"""A sequence number further ahead than this is a restart, not loss (RFC 3550 appendix A.1)."""
SEEN = 256
"""Sequence numbers remembered per call to tell a duplicate."""

Slots = NDArray[np.int64]


class Sequences:
    """The numbering of `slots` calls.

    lost         (slots,) int64  samples missing where sequence numbers jumped
    lost_packets (slots,) int64  numbers that never came
    hole_end     (slots,) int64  position where the newest hole ends: losses before it may yet be made good
    """

    def __init__(self, slots: int) -> None:
        self.lost = np.zeros(slots, np.int64)
        self.lost_packets = np.zeros(slots, np.int64)
        self.hole_end = np.zeros(slots, np.int64)
        self._slots = slots
        self._mark = np.zeros(slots, np.int64)  # scratch
        self._newest = np.zeros(slots, np.uint16)
        self._count = np.zeros(slots, np.int64)  # numbers gone by since the first packet
        self._edge = np.zeros(slots, np.int64)  # position after the packet numbered `_newest`
        self._largest = np.zeros(slots, np.int64)  # samples of the largest packet so far
        self._seen = np.zeros((slots, SEEN), np.uint16)
        self._unseen = (np.arange(SEEN) + 1).astype(np.uint16)  # no cell holds a number that falls on it

    def begin(self, slot: Slots, first: NDArray[np.uint16], edge: NDArray[np.int64]) -> None:
        """Calls begin with packets first (m,) at edge (m,). Of a slot named twice, the first counts."""
        self._newest[slot[::-1]] = first[::-1] - np.uint16(1)
        self._edge[slot] = edge
        self._seen[slot] = self._unseen
        for field in (self.lost, self.lost_packets, self.hole_end, self._count, self._largest):
            field[slot] = 0

    def renumber(self, slot: int, first: int, edge: int) -> None:
        """A call goes on with the packet numbered `first` at position `edge`; nothing was lost before."""
        self._newest[slot] = (first - 1) % 65536
        self._edge[slot] = edge
        self._seen[slot] = self._unseen

    def shift(self, slot: int, by: int) -> None:
        """Positions of a call are counted from `by` from now on."""
        self._edge[slot] -= by
        self.hole_end[slot] -= by

    def repeated(self, slot: Slots, sequence: NDArray[np.uint16]) -> NDArray[np.bool_]:
        """(m,): which packets came before, in another batch or in this one."""
        again: NDArray[np.bool_] = self._seen[slot, sequence % SEEN] == sequence
        order = np.arange(len(slot))
        self._mark[slot] = order
        overtaken = self._mark[slot] != order
        if overtaken.any():  # calls with two packets here: only of them can one repeat the other
            self._mark[slot[overtaken]] = -1
            several = np.flatnonzero(self._mark[slot] < 0)
            _, first = np.unique(slot[several] << 16 | sequence[several], return_index=True)
            again[np.delete(several, first)] = True
        return again

    def note(
        self,
        slot: Slots,
        sequence: NDArray[np.uint16],
        position: NDArray[np.int64],
        samples: NDArray[np.int64],
    ) -> None:
        """Packets (m,) have come, none repeated. Samples is 0 for what is no audio but takes a number."""
        self._seen[slot, sequence % SEEN] = sequence
        ahead = (sequence - self._newest[slot]).view(np.int16).astype(np.int64)
        ahead[(ahead > MAX_DROPOUT) | (ahead <= -SEEN)] = 1  # numbered anew: nothing is known to be lost
        before = self._count[slot]
        count = before + ahead
        np.maximum.at(self._count, slot, count)
        np.maximum.at(self._largest, slot, samples)
        forward = ahead > 0
        if (ahead == 1).all() and (self._count[slot] == count).all():  # each the next of its call
            self._newest[slot] = sequence
            some = samples > 0
            self._edge[slot[some]] = (position + samples)[some]
            return
        # As many packets as numbers gone by: nothing is missing, in whatever order they came.
        came = np.zeros(self._slots, np.int64)
        np.add.at(came, slot[forward], 1)
        gaps = forward & (self._count[slot] - before > came[slot])
        if gaps.any():
            which = np.flatnonzero(gaps)
            self._gaps(slot[which], count[which], before[which], position[which], samples[which])
        # What was numbered before the first packet was never counted as lost.
        back = ~forward & (count > 0)
        if back.any():
            np.subtract.at(self.lost, slot[back], samples[back])
            np.subtract.at(self.lost_packets, slot[back], 1)
            self.lost[slot] = np.maximum(self.lost[slot], 0)
            self.lost_packets[slot] = np.maximum(self.lost_packets[slot], 0)
        top = forward & (count == self._count[slot])
        self._newest[slot[top]] = sequence[top]
        top &= samples > 0
        self._edge[slot[top]] = (position + samples)[top]

    def _gaps(
        self,
        slot: Slots,
        count: NDArray[np.int64],
        before: NDArray[np.int64],
        position: NDArray[np.int64],
        samples: NDArray[np.int64],
    ) -> None:
        """Forward packets of calls that miss some: what lies between each and the one before it."""
        order = np.lexsort((count, slot))
        slot, count, before = slot[order], count[order], before[order]
        position, end = position[order], (position + samples)[order]
        same = np.r_[False, slot[1:] == slot[:-1]]
        missing = count - np.where(same, np.r_[0, count[:-1]], before) - 1
        hole = position - np.where(same, np.r_[0, end[:-1]], self._edge[slot])
        some = missing > 0
        slot, missing, hole = slot[some], missing[some], hole[some]
        # Silence may lie in the hole too: no more was lost than so many of the largest packets hold.
        np.add.at(self.lost, slot, np.clip(hole, 0, missing * self._largest[slot]))
        np.add.at(self.lost_packets, slot, missing)
        np.maximum.at(self.hole_end, slot, position[some])
