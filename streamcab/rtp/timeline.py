"""Where a packet's samples belong: RTP timestamps as absolute positions, also when a call's clock jumps.

A position is a signed 32-bit difference from the timestamp of a packet of the same call, extended to 64
bits, so that wrap-around and hours of running mean nothing. Columns over slots. Knows nothing of sequence
numbers' losses or rings.
"""

import numpy as np
from numpy.typing import NDArray

JUMP_S = 3.0
"""A timestamp that is further than this from where wall time puts it is out of proportion."""
STRAYS = 64
"""Packets out of proportion that are looked at per batch; they cost a loop each."""
FOLLOWS = 256
"""Sequence numbers between two stray packets that belong together."""


def difference(time: int, base: int) -> int:
    """Ticks from one RTP timestamp to another, -2^31 .. 2^31 - 1."""
    return (time - base + 2**31) % 2**32 - 2**31


class Timeline:
    """The clocks of `slots` calls. rate (slots,) Hz and step (slots,) samples per tick are set at `begin`.

    position (slots,) int64  of the packet that positions are counted from: a recent one
    """

    def __init__(self, slots: int) -> None:
        self.position = np.zeros(slots, np.int64)
        self._time = np.zeros(slots, np.uint32)
        self._step = np.zeros(slots, np.int64)
        self._rate = np.zeros(slots, np.float64)
        self._stray: dict[int, tuple[int, int]] = {}
        self.restarts = 0

    def begin(
        self,
        slot: NDArray[np.int64],
        time: NDArray[np.uint32],
        position: NDArray[np.int64],
        rate: NDArray[np.float64],
        step: NDArray[np.int64],
    ) -> None:
        """Calls begin with time stamp time (m,) at position (m,). Of a slot named twice, the first counts."""
        self._time[slot[::-1]] = time[::-1]
        self.position[slot] = position
        self._rate[slot], self._step[slot] = rate, step
        for one in self._stray.keys() & set(slot.tolist()):
            del self._stray[one]

    def locate(
        self,
        slot: NDArray[np.int64],
        time: NDArray[np.uint32],
        silent: NDArray[np.float64],
        behind: NDArray[np.float64],
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Positions (m,) of packets, and which are out of proportion.

        silent  (m,) s since the last packet of the call        behind  (m,) s by which it lies behind wall time
        """
        away = (time - self._time[slot]).view(np.int32) * self._step[slot]
        limit = self._rate[slot] * (JUMP_S + silent)
        stray = (away > limit + self._rate[slot] * behind) | (away < -limit)
        return self.position[slot] + away, stray

    @property
    def strays(self) -> bool:
        """Whether any call waits for a second stray packet."""
        return bool(self._stray)

    def settle(self, slot: NDArray[np.int64]) -> None:
        """Packets in proportion came for these: a stray one between them meant nothing."""
        for one in self._stray.keys() & set(slot.tolist()):
            del self._stray[one]

    def move(self, slot: NDArray[np.int64], time: NDArray[np.uint32], position: NDArray[np.int64]) -> None:
        """Count from these packets from now on."""
        self._time[slot] = time
        self.position[slot] = position

    def restart(
        self, slot: int, time: int, sequence: int, newest: int, silent: float
    ) -> tuple[int | None, bool]:
        """The position of a stray packet, or None; and whether it has just become the call's new origin.

        It does when it is the second in a row that came to the same place. Wall time says how long the
        hole is.
        """
        step, limit = int(self._step[slot]), JUMP_S * self._rate[slot]
        away = difference(time, int(self._time[slot])) * step
        if abs(away) <= limit:  # a packet before it in this batch has moved the origin already
            return int(self.position[slot]) + away, False
        before = self._stray.pop(slot, None)
        apart = difference(time, before[0]) * step if before else 0
        if before is None or abs(apart) > limit or not 0 < (sequence - before[1]) % 65536 < FOLLOWS:
            self._stray[slot] = (time, sequence)
            return None, False
        place = newest + max(int(silent * self._rate[slot]), apart, 0)
        self._time[slot], self.position[slot] = time, place
        self.restarts += 1
        return place, True
