"""The table of calls: a fixed number of slots, and the keys that lead to them.

A call is identified by source address, source port, SSRC and receiving socket: an SSRC alone is not unique. All data
are columns, so that a batch is matched, and new calls are admitted, without a loop. Knows nothing of timestamps, rings
or codecs.
"""

import secrets
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

PATIENCE = 0.05
"""Seconds for which a new call keeps its slot against others. This is longer than the time between two packets of a
real call, so real calls are admitted during a flood of forged ones, which send one packet each.
"""

Words = tuple[NDArray[np.uint64], ...]
"""The keys of n datagrams in five columns (n,): four for the source's sockaddr, one for the rest."""


class State(IntEnum):
    """State of a slot: FREE -> PROBATION -> LIVE -> ENDED -> FREE, or from PROBATION straight back."""

    FREE = 0
    PROBATION = 1
    LIVE = 2
    ENDED = 3


def key_words(name: NDArray[np.uint64], ssrc: NDArray[np.uint32], port: NDArray[np.int64]) -> Words:
    """Return key columns from name (n, 4), ssrc (n,) and port (n,), the socket's index with the channel above it."""
    rest = ssrc.astype(np.uint64) | (port << 32).view(np.uint64)
    return name[:, 0], name[:, 1], name[:, 2], name[:, 3], rest


class Table:
    """`slots` calls at most.

    state  (slots,) uint8    a `State`
    last   (slots,) float64  monotonic time of the newest packet
    packets (slots,) int64   valid packets since the slot was taken
    form   (slots,) int64    index of the format of its ring
    ssrc   (slots,) uint32
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.state = np.zeros(slots, np.uint8)
        self.last = np.zeros(slots, np.float64)
        self.packets = np.zeros(slots, np.int64)
        self.form = np.zeros(slots, np.int64)
        self.ssrc = np.zeros(slots, np.uint32)
        self._words = np.zeros((5, slots), np.uint64)
        self._hash = np.zeros(slots, np.uint64)
        # Drawn at each start, so that an attacker cannot choose keys that collide.
        self._factors = [np.uint64(secrets.randbits(64) | 1) for _ in range(6)]
        # Open addressing, an eighth full: one probe finds nearly every key.
        self._cells = np.full(8 << max(slots - 1, 1).bit_length(), -1, np.int32)
        self._stale = False

    def _mix(self, words: Words, wide: bool) -> NDArray[np.uint64]:
        mixed: NDArray[np.uint64] = words[0] * self._factors[0] + words[4] * self._factors[4]
        if wide:
            mixed = (
                mixed
                + words[1] * self._factors[1]
                + words[2] * self._factors[2]
                + words[3] * self._factors[3]
            )
        mixed = (mixed ^ mixed >> np.uint64(32)) * self._factors[5]
        return mixed

    def match(self, words: Words, wide: bool) -> NDArray[np.int64]:
        """Return the slot of each key (n,), -1 for none. `wide`: columns 1 to 3 are not all zero."""
        if self._stale:
            self._index()
        cell = self._mix(words, wide).astype(np.int64) & (len(self._cells) - 1)
        slot: NDArray[np.int64] = self._cells[cell].astype(np.int64)
        other = np.flatnonzero((slot >= 0) & ~self._same(slot, words, wide))
        while len(other):
            cell[other] = (cell[other] + 1) & (len(self._cells) - 1)
            slot[other] = self._cells[cell[other]]
            there = slot[other] >= 0
            other = other[there]
            other = other[~self._same(slot[other], tuple(column[other] for column in words), wide)]
        return slot

    def _same(self, slot: NDArray[np.int64], words: Words, wide: bool) -> NDArray[np.bool_]:
        same: NDArray[np.bool_] = (self._words[0, slot] == words[0]) & (self._words[4, slot] == words[4])
        if wide:
            for column in (1, 2, 3):
                same &= self._words[column, slot] == words[column]
        return same

    def _index(self) -> None:
        """Insert every key in use at the first free cell from its hash on."""
        used = np.flatnonzero((self.state == State.PROBATION) | (self.state == State.LIVE))
        cell = self._hash[used].astype(np.int64) & (len(self._cells) - 1)
        self._cells.fill(-1)
        while len(used):
            free = self._cells[cell] < 0
            self._cells[cell[free]] = used[free]
            out = self._cells[cell] != used
            used, cell = used[out], (cell[out] + 1) & (len(self._cells) - 1)
        self._stale = False

    def admit(self, words: Words, wide: bool, form: NDArray[np.int64], now: float) -> NDArray[np.int64]:
        """Give slots to unknown keys in order of arrival, while there are free ones; return the slots taken.

        If all are taken, calls on probation without a recent packet are evicted.
        """
        mixed = self._mix(words, wide)
        _, first = np.unique(mixed, return_index=True)
        first.sort()
        free = np.flatnonzero(self.state == State.FREE)
        if len(free) < len(first):
            waiting = np.flatnonzero((self.state == State.PROBATION) & (now - self.last > PATIENCE))
            waiting = waiting[np.lexsort((self.last[waiting], self.packets[waiting]))]
            free = np.concatenate([free, waiting])
        taken, first = free[: len(first)], first[: len(free)]
        self.state[taken] = State.PROBATION
        self.last[taken] = now
        self.packets[taken] = 0
        self.form[taken] = form[first]
        self.ssrc[taken] = (words[4][first] & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        for column in range(5):
            self._words[column, taken] = words[column][first]
        self._hash[taken] = mixed[first]
        self._stale = True
        return taken

    def leave(self, slot: NDArray[np.intp], state: State) -> None:
        """Remove the keys of slots (m,); the next packet with one of them starts a new call."""
        self.state[slot] = state
        self._stale = True

    def inherit(self, slot: int, heir: int) -> None:
        """Move the key of another slot to a call, and free that slot."""
        self._words[:, slot], self._hash[slot] = self._words[:, heir], self._hash[heir]
        self.ssrc[slot], self.last[slot] = self.ssrc[heir], self.last[heir]
        self.packets[slot] += self.packets[heir]
        self.state[heir] = State.FREE
        self._stale = True

    def release(self, slot: int) -> None:
        """Free an ended slot for another call."""
        self.state[slot] = State.FREE

    def name(self, slot: int) -> bytes:
        """Return the source's sockaddr, 32 bytes."""
        return self._words[:4, slot].tobytes()

    def port(self, slot: int) -> int:
        """Return the index of the receiving socket."""
        return int(self._words[4, slot]) >> 32 & 0xFFFF

    def channel(self, slot: int) -> int:
        """Return the number of the channel that is a call of its own, 0 for a call of all channels."""
        return int(self._words[4, slot]) >> 48
