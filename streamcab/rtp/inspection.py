"""Flaws in the packets of calls, checked once a second.

    collision    another sender uses the same address, port and SSRC (RFC 3550 section 8.2)
    encrypted?   all codes of G.711 are equally frequent: SRTP without its key (RFC 3711), or noise

Reads counts and rings; knows nothing of headers.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from streamcab.rtp.bank import ScatterBank
from streamcab.rtp.codec import TABLES

LOOK_S = 1.0
SHARE = 0.1
"""Share of a call's packets that must be refused to count as a collision."""
LEAST = 5
"""Refused packets in a second that count as a collision."""
HOLD_S = 5.0
"""Seconds for which a collision is still reported after it was last seen."""
SAMPLES = 4000
"""Samples whose codes are counted: half a second."""
GLANCE = 128
"""The newest samples of each call, which decide whether its codes are counted: encrypted ones are loud and rough."""
LOUD = 8000
"""A quarter of all codes of either law decode to more than this, of 32768."""
LOUD_SHARE = 0.125
"""Share of loud samples from which on the codes are counted: half of the expected one."""
ROUGH = 0.35
"""Correlation of neighbours up to which the codes are counted: 0 is expected, with a deviation of 0.09."""
UNIFORM = 400.0
"""Chi-square of 256 equally likely codes: 255 on average, 23 the deviation. Speech has thousands."""
MOST = 64
"""Calls whose codes are counted in one check: those that have waited longest."""

COLLISION = "other packets come under its address, port and SSRC: one talk is heard, the others are refused"
ENCRYPTED = "its codes are noise, as of SRTP without its key: have the sender or the media server decrypt it"

Slots = NDArray[np.intp]


@cache
def _codes() -> NDArray[np.uint16]:
    """Make the table of which code of either law decodes to a 16-bit sample, counted from 1, (65536,); 0 for none."""
    table = np.zeros(65536, np.uint16)
    values = np.unique(np.concatenate(list(TABLES.values())))
    table[values.view(np.uint16)] = np.arange(len(values)) + 1
    return table


@dataclass(frozen=True)
class Finding:
    """A flaw of a call: a name, and words while it stands."""

    slot: int
    name: str
    words: str


class Inspection:
    """Checks `slots` calls; `refused` (slots,) int64: packets under each call's key that do not belong to it."""

    def __init__(self, slots: int) -> None:
        self.refused = np.zeros(slots, np.int64)
        self._packets, self._refused = np.zeros((2, slots), np.int64)
        self._collided = np.full(slots, -np.inf)
        self._colliding, self._encrypted = np.zeros((2, slots), np.bool_)
        self._counted = np.zeros(slots, np.int64)  # position up to which the codes have been counted

    def begin(self, slot: NDArray[np.int64]) -> None:
        """Start calls."""
        for column in (self.refused, self._packets, self._refused, self._counted):
            column[slot] = 0
        self._collided[slot] = -np.inf
        self._colliding[slot] = self._encrypted[slot] = False

    def collisions(self, live: Slots, packets: NDArray[np.int64], now: float) -> list[Finding]:
        """Return calls with a new or an ended collision; packets (slots,): number of accepted packets."""
        refused = self.refused[live] - self._refused[live]
        heard = packets[live] - self._packets[live]
        self._refused[live], self._packets[live] = self.refused[live], packets[live]
        self._collided[live[(refused >= LEAST) & (refused >= SHARE * (refused + heard))]] = now
        here = now - self._collided[live] < HOLD_S
        other = live[here != self._colliding[live]]
        self._colliding[live] = here
        return [Finding(s, "collision", COLLISION if self._colliding[s] else "") for s in other.tolist()]

    def codes(self, live: Slots, newest: NDArray[np.int64], bank: ScatterBank) -> list[Finding]:
        """Return calls of G.711 that now look encrypted, or no longer do; newest (slots,): end of their samples."""
        ready = live[newest[live] - self._counted[live] >= SAMPLES]
        glance = bank.data[ready[:, None], (newest[ready, None] - 1 - np.arange(GLANCE)) % bank.capacity]
        likely = (np.abs(glance) > LOUD).mean(1) >= LOUD_SHARE
        x = glance.astype(np.float32)
        likely &= (x[:, 1:] * x[:, :-1]).sum(1) <= ROUGH * (x * x).sum(1)
        ready = ready[likely | self._encrypted[ready]]
        ready = ready[np.argsort(self._counted[ready] - newest[ready], kind="stable")][:MOST]
        found = []
        for slot in ready.tolist():
            end = int(newest[slot])
            self._counted[slot] = end
            codes = bank.data[slot, np.arange(end - SAMPLES, end) % bank.capacity]
            counts = np.bincount(_codes()[codes.view(np.uint16)])[1:]
            counts, total = counts[counts > 0], int(counts.sum())
            chi = float(((counts - total / 256) ** 2).sum()) * 256 / max(total, 1)
            chi += total / 256 * max(256 - len(counts), 0)  # codes that do not occur
            noise = total >= SAMPLES * 0.9 and chi < UNIFORM
            if noise != self._encrypted[slot]:
                self._encrypted[slot] = noise
                found.append(Finding(slot, "encrypted?", ENCRYPTED if noise else ""))
        return found
