"""Loss and duplicates: the latest sequence numbers of each call, and its lost packets.

A packet is a repeat if its number, its timestamp and its payload have arrived before. The number alone is not enough: a
restarted sender may use the same numbers again (RFC 3550 appendix A.1). Columns over slots. Knows nothing of positions
(timeline.py), rings or formats.
"""

import numpy as np
from numpy.typing import NDArray

SEEN = 256
"""Packets remembered per call to detect a repeat."""
_NUMBER = np.uint32(0xFFFF)
_FACTOR = np.uint64(0x9E3779B97F4A7C15)

Slots = NDArray[np.int64]
Numbers = NDArray[np.uint16]
Keys = NDArray[np.uint32]


def keys(sequence: Numbers, time: NDArray[np.uint32], content: NDArray[np.uint64]) -> Keys:
    """Return keys that identify packets (m,): a hash of time and content, above 16 bits that hold the number."""
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
    lost_packets (slots,) int64  numbers that never arrived
    hole_end     (slots,) int64  position where the newest hole ends: packets before it may still arrive
    """

    def __init__(self, slots: int) -> None:
        self.lost = np.zeros(slots, np.int64)
        self.lost_packets = np.zeros(slots, np.int64)
        self.hole_end = np.zeros(slots, np.int64)
        self._mark = np.zeros(slots * SEEN, np.int32)  # scratch
        self._seen = np.zeros(slots * SEEN, np.uint32)
        self._unseen = (np.arange(SEEN) + 1).astype(np.uint32)  # no cell holds a number that maps to it

    def begin(self, slot: Slots) -> None:
        """Start calls in slots (m,)."""
        self._seen.reshape(-1, SEEN)[slot] = self._unseen
        for field in (self.lost, self.lost_packets, self.hole_end):
            field[slot] = 0

    def shift(self, slot: int, by: int) -> None:
        """Renumber the positions of a call: `by` becomes 0."""
        self.hole_end[slot] -= by

    def repeated(self, slot: Slots, key: Keys) -> NDArray[np.bool_]:
        """Return which packets (m,) arrived before, in an earlier batch or in this one."""
        cell = _cell(slot, key)
        again: NDArray[np.bool_] = self._seen[cell] == key
        order = np.arange(len(slot), dtype=np.int32)
        self._mark[cell] = order
        overtaken = self._mark[cell] != order
        if overtaken.any():  # only packets that share a cell with another one here can be repeats
            self._mark[cell[overtaken]] = -1
            several = np.flatnonzero(self._mark[cell] < 0)
            several = several[
                np.lexsort((key[several], slot[several]))
            ]  # stable: of equal packets the first arrived first
            same = slot[several[1:]] == slot[several[:-1]]
            same &= key[several[1:]] == key[several[:-1]]
            again[several[1:][same]] = True
        return again

    def known(self, slot: Slots, sequence: Numbers) -> NDArray[np.bool_]:
        """Return whether any packet with this number has arrived lately, (m,)."""
        known: NDArray[np.bool_] = self._seen[_cell(slot, sequence)] & _NUMBER == sequence
        return known

    def note(self, slot: Slots, key: Keys) -> None:
        """Record the arrival of packets (m,)."""
        self._seen[_cell(slot, key)] = key

    def gap(self, slot: int, packets: int, samples: int, end: int) -> None:
        """Record missing numbers and samples before the packet at position `end`."""
        self.lost[slot] += samples
        self.lost_packets[slot] += packets
        self.hole_end[slot] = max(int(self.hole_end[slot]), end)

    def found(self, slot: int, samples: int) -> None:
        """Record the arrival of a packet that was counted as lost."""
        self.lost[slot] = max(int(self.lost[slot]) - samples, 0)
        self.lost_packets[slot] = max(int(self.lost_packets[slot]) - 1, 0)

    def inherit(self, slot: int, other: int) -> None:
        """Continue a call with the packets of another slot."""
        seen = self._seen.reshape(-1, SEEN)
        seen[slot] = seen[other]


def _cell(slot: Slots, key: Keys | Numbers) -> Slots:
    return slot * SEEN + (key & (SEEN - 1))
