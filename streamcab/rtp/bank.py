"""Rings that are written out of order, by absolute position, many rows at once.

A `Bank` whose newest samples may still have holes: the reader may read up to `written`, and the ring has been emptied
up to `claimed` for later samples. Knows nothing of packets or calls; marks holes without knowing their cause.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamcab.audio.ring import NO_SAMPLE, Bank, windows

BLOCKS = 8
"""The ring is emptied ahead of the writer by eighths: one memset of 8 kB per call each half second."""
HOLE = -32768
"""`NO_SAMPLE` in an int16 ring."""
_TO_FLOAT = np.float32(2**-15)


class ScatterBank(Bank):
    """`rows` rings of int16 (`compact`: half the memory, for codecs that never decode to -32768) or float32.

    claimed  (rows,) int64, absolute index up to which the ring is emptied: up to here, samples are missing
             wherever no packet was placed; what lies a ring's length before it is overwritten
    """

    def __init__(self, rate: int, rows: int, seconds: float, compact: bool, touch: bool) -> None:
        block = max(-(-int(seconds * rate) // BLOCKS), 1)
        kind = np.int16 if compact else np.float32
        self.hole = HOLE if compact else NO_SAMPLE
        # Without this, a page costs memory, and a page fault, only when a call first writes to it.
        data: NDArray[Any] = np.empty((rows, BLOCKS * block), kind)
        if touch:
            data.fill(self.hole)
        super().__init__(rate, rows, BLOCKS * block, data)
        self.compact = compact
        self.block = block
        self._blocks = data.reshape(rows, BLOCKS, block)

    @property
    def bytes_per_row(self) -> int:
        """Return the memory of one stream's ring and its bookkeeping, in bytes."""
        return self.capacity * self.data.itemsize + 8 * 8 + 1

    def take(self, rows: NDArray[np.intp]) -> None:
        """Start rows (m,) afresh. Old samples cannot be read: `prepare` empties the ring before use."""
        for field in (
            *(self.written, self.consumed, self.stamp, self.overflows, self.skipped, self.claimed),
            *(self.silence_from, self.silence_to),
        ):
            field[rows] = 0
        self.ended[rows] = False

    def prepare(self, rows: NDArray[np.intp], end: NDArray[np.int64]) -> None:
        """Empty the rings of rows (m,) as far as absolute index end (m,). Rows may be named twice."""
        behind = end > self.claimed[rows]
        if not behind.any():
            return
        rows, end = rows[behind], end[behind]
        goal = np.zeros(self.rows, np.int64)
        np.maximum.at(goal, rows, -(-end // self.block))
        rows = np.flatnonzero(goal)
        first = np.maximum(self.claimed[rows] // self.block, goal[rows] - BLOCKS)
        # Before the memset, so that a reader which copies meanwhile detects that it was overtaken.
        self.claimed[rows] = goal[rows] * self.block
        for step in range(int((goal[rows] - first).max())):
            some = first + step < goal[rows]
            self._blocks[rows[some], (first[some] + step) % BLOCKS] = self.hole

    def place(self, rows: NDArray[np.intp], position: NDArray[np.int64], samples: NDArray[Any]) -> None:
        """Write samples (m, n) at absolute index position (m,) of rows (m,); `prepare` has been there."""
        n = samples.shape[1]
        at = position % self.capacity
        whole = at + n <= self.capacity
        places = rows * self.capacity + at
        if whole.all():
            windows(self.data, n)[places] = samples
            return
        if whole.any():
            windows(self.data, n)[places[whole]] = samples[whole]
        index = (at[~whole, None] + np.arange(n)) % self.capacity
        self.data[rows[~whole, None], index] = samples[~whole]

    def stored(self, samples: NDArray[np.float32]) -> NDArray[Any]:
        """Convert samples in [-1, 1] to the type that `place` expects."""
        if not self.compact:
            return samples
        return np.clip(np.rint(samples * 32768), HOLE + 1, 32767).astype(np.int16)

    def rebase(self, row: int, first: int, end: int) -> int:
        """Renumber the unread samples first..end of a row from 0; return the number that were kept."""
        first = max(first, int(self.claimed[row]) - self.capacity)
        kept = self.data[row, np.arange(first, end) % self.capacity]
        self.data[row] = self.hole
        self.data[row, : len(kept)] = kept
        self.claimed[row] = self.capacity
        return len(kept)

    def _gather(self, rows: NDArray[np.intp], start: NDArray[np.int64], n: int) -> NDArray[np.float32]:
        raw = super()._gather(rows, start, n)
        if not self.compact:
            return raw
        out = raw.astype(np.float32)
        holes = out == HOLE
        out *= _TO_FLOAT
        if holes.any():
            out[holes] = NO_SAMPLE
        return out
