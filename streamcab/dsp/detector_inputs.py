"""The inputs of the speech detector: band levels relative to the loudest of the last `LEVEL` intervals, and means.

All are bytes in steps of 1/STEP, computed in integers, and addressed by absolute position. Knows nothing of nets.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamcab.dsp.bands import BANDS, FLOOR, STEP

LEVEL = 64
"""Intervals over which the loudest, the softest and the means are taken; a power of two."""
INPUTS = BANDS + 2
MEANS = BANDS
RANGE = 20
"""Octaves of power (60 dB) that are distinguished below the loudest."""
QUIETEST = FLOOR + 10 * STEP
"""Levels below this are not raised."""

_LEVEL_BITS = LEVEL.bit_length() - 1
assert LEVEL == 1 << _LEVEL_BITS
assert LEVEL * -FLOOR < 2**15, "sums of so many levels do not fit 16 bits"

Ints = NDArray[np.intp]
Bytes = NDArray[np.uint8]


class Inputs:
    """The inputs of the net for many streams, each in a slot, from their band levels; silence before the start.

    Args:
        slots: Number of streams.
        margin: Most intervals that are pushed at once.
    """

    def __init__(self, slots: int, margin: int) -> None:
        self._margin, self._room = margin, LEVEL + margin
        # The loudest of each interval and the levels themselves, at (absolute interval) % room, and sums of the last.
        self._loud = np.zeros((slots, self._room), np.int16)
        self._levels = np.zeros((slots, self._room, BANDS), np.int16)
        self._sum = np.zeros((slots, BANDS), np.int16)
        self.reset(np.arange(slots))

    @property
    def bytes_per_slot(self) -> int:
        """Memory of one stream, in bytes."""
        arrays: list[NDArray[Any]] = [self._loud, self._levels, self._sum]
        return sum(a.nbytes // len(a) for a in arrays)

    def reset(self, slots: Ints) -> None:
        """Make slots ready for new streams."""
        self._loud[slots] = FLOOR
        self._levels[slots] = FLOOR
        self._sum[slots] = LEVEL * FLOOR

    def push(self, slots: Ints, first: NDArray[np.int64], levels: NDArray[np.int16]) -> tuple[Bytes, Bytes]:
        """Take in the next intervals of some streams.

        Args:
            slots: The streams, (B,), no slot twice.
            first: Absolute position of each stream's first new interval, (B,).
            levels: Band levels, (B, H, BANDS).

        Returns:
            Bytes in steps of 1/STEP. First (B, H, INPUTS): levels below the loudest of the last LEVEL intervals, then
            the level of the interval and the softest of these. Second (B, H, MEANS): means of the bands over these.
        """
        b, h = levels.shape[:2]
        at = first % self._room
        now = slots[:, None] * self._room + places(self._room, h, 0)[at]
        # Bands first: a reduction over long rows is twice as fast as over many short ones.
        loud = np.ascontiguousarray(levels.reshape(b * h, -1).T).max(0).reshape(b, h)
        self._loud.reshape(-1)[now] = loud
        past = self._loud.reshape(-1)[
            slots[:, None] * self._room + places(self._room, LEVEL - 1 + h, 1 - LEVEL)[at]
        ]
        largest = _largest(np.concatenate((past, -past)), h)
        top, low = largest[:b], -largest[b:]
        zero = np.maximum(top, QUIETEST) - RANGE * STEP
        x = np.empty((b, h, INPUTS), np.int16)
        np.subtract(levels, zero[..., None], out=x[..., :BANDS])
        np.subtract(loud, zero, out=x[..., BANDS])
        np.subtract(np.maximum(low, QUIETEST - RANGE * STEP), zero, out=x[..., BANDS + 1])
        rows = self._levels.reshape(-1, BANDS)
        rows[now] = levels
        left = slots[:, None] * self._room + places(self._room, h, -LEVEL)[at]
        sums = levels - np.take(rows, left, axis=0)
        sums[:, 0] += self._sum[slots]
        for j in range(1, h):
            sums[:, j] += sums[:, j - 1]
        self._sum[slots] = sums[:, -1]
        sums >>= _LEVEL_BITS
        sums -= zero[..., None]
        return _bytes(x), _bytes(sums)


@lru_cache(maxsize=256)
def places(room: int, h: int, back: int) -> Ints:
    """Return the places of h intervals in a ring, from `back` on, by the place of the first: (room, h)."""
    return (np.arange(room)[:, None] + back + np.arange(h)) % room


def _largest(x: NDArray[np.int16], h: int) -> NDArray[np.int16]:
    """Return the largest of each LEVEL in a row: x (B, LEVEL - 1 + h) -> (B, h). Overlaps are searched once."""
    found: NDArray[np.int16]
    if h > LEVEL // 2:
        found = np.lib.stride_tricks.sliding_window_view(x, LEVEL, axis=1).max(2)
        return found
    found = np.repeat(x[:, h - 1 : LEVEL].max(1, keepdims=True), h, 1)
    if h > 1:
        before, after = found[:, :-1], found[:, 1:]
        np.maximum(before, np.maximum.accumulate(x[:, h - 2 :: -1], 1)[:, ::-1], out=before)
        np.maximum(after, np.maximum.accumulate(x[:, LEVEL:], 1), out=after)
    return found


def _bytes(x: NDArray[Any]) -> Bytes:
    x.clip(0, RANGE * STEP, out=x)
    found: Bytes = x.astype(np.uint8)
    return found
