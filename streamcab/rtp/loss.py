"""What never came and what came twice: the sequence numbers that each call has sent lately, and what it lost.

A packet is a repeat when its number, its timestamp and its payload have come before. A number alone says nothing: a
sender that is created anew may count the same numbers again (RFC 3550 appendix A.1). Columns over slots. Knows nothing
of where packets belong (timeline.py), of rings or of formats.
"""

import numpy as np
from numpy.typing import NDArray

SEEN = 256
"""Packets remembered per call to tell a repeat."""
_NUMBER = np.uint32(0xFFFF)
_FACTOR = np.uint64(0x9E3779B97F4A7C15)

Slots = NDArray[np.int64]
Numbers = NDArray[np.uint16]
Keys = NDArray[np.uint32]


def keys(sequence: Numbers, time: NDArray[np.uint32], content: NDArray[np.uint64]) -> Keys:
    """What tells packets (m,) from each other: a hash of time and content above 16 bits that hold the number."""
    mixed = content * _FACTOR
    mixed += time
    mixed *= _FACTOR
    key: Keys = (mixed >> np.uint64(48)).astype(np.uint32)
    key <<= np.uint32(16)
    key |= sequence
    return key


class Sequences:
    """The packets of `slots` calls.

    lost         (slots,) int64  samples missing where sequence numbers jumped
    lost_packets (slots,) int64  numbers that never came
    hole_end     (slots,) int64  position where the newest hole ends: losses before it may yet be made good
    """

    def __init__(self, slots: int) -> None:
        self.lost = np.zeros(slots, np.int64)
        self.lost_packets = np.zeros(slots, np.int64)
        self.hole_end = np.zeros(slots, np.int64)
        self._mark = np.zeros(slots * SEEN, np.int32)  # scratch
        self._seen = np.zeros(slots * SEEN, np.uint32)
        self._unseen = (np.arange(SEEN) + 1).astype(np.uint32)  # no cell holds a number that falls on it

    def begin(self, slot: Slots) -> None:
        """Calls begin in slots (m,)."""
        self._seen.reshape(-1, SEEN)[slot] = self._unseen
        for field in (self.lost, self.lost_packets, self.hole_end):
            field[slot] = 0

    def shift(self, slot: int, by: int) -> None:
        """Positions of a call are counted from `by` from now on."""
        self.hole_end[slot] -= by

    def repeated(self, slot: Slots, key: Keys) -> NDArray[np.bool_]:
        """(m,): which packets came before, in another batch or in this one."""
        cell = _cell(slot, key)
        again: NDArray[np.bool_] = self._seen[cell] == key
        order = np.arange(len(slot), dtype=np.int32)
        self._mark[cell] = order
        overtaken = self._mark[cell] != order
        if (
            overtaken.any()
        ):  # numbers that share a cell with another one here: only of them can one repeat the other
            self._mark[cell[overtaken]] = -1
            several = np.flatnonzero(self._mark[cell] < 0)
            several = several[
                np.lexsort((key[several], slot[several]))
            ]  # stable: the first of equals came first
            same = slot[several[1:]] == slot[several[:-1]]
            same &= key[several[1:]] == key[several[:-1]]
            again[several[1:][same]] = True
        return again

    def known(self, slot: Slots, sequence: Numbers) -> NDArray[np.bool_]:
        """(m,): whether a packet of this number has come lately, whatever it was."""
        known: NDArray[np.bool_] = self._seen[_cell(slot, sequence)] & _NUMBER == sequence
        return known

    def note(self, slot: Slots, key: Keys) -> None:
        """Packets (m,) have come."""
        self._seen[_cell(slot, key)] = key

    def gap(self, slot: int, packets: int, samples: int, end: int) -> None:
        """So many numbers were left out before the packet at position `end`, and so much sound with them."""
        self.lost[slot] += samples
        self.lost_packets[slot] += packets
        self.hole_end[slot] = max(int(self.hole_end[slot]), end)

    def found(self, slot: int, samples: int) -> None:
        """A packet that was taken for lost came after all."""
        self.lost[slot] = max(int(self.lost[slot]) - samples, 0)
        self.lost_packets[slot] = max(int(self.lost_packets[slot]) - 1, 0)

    def inherit(self, slot: int, other: int) -> None:
        """A call goes on with the packets that came in another slot."""
        seen = self._seen.reshape(-1, SEEN)
        seen[slot] = seen[other]


def _cell(slot: Slots, key: Keys | Numbers) -> Slots:
    return slot * SEEN + (key & (SEEN - 1))
