"""Rings of captured samples: one writer, one reader, counted from the start of the stream, the oldest overwritten.

A `Bank` holds the rings of many streams of one sample rate side by side, so that thousands of them are read in one
gather. A microphone is a bank of one row. Knows nothing of where samples come from or what becomes of them.

The writer owns `written`, `stamp`, `ended` and `overflows`; the reader owns `consumed`. A torn read cannot happen
unseen: the reader checks after copying that the writer has not come round (`lost`).
"""

import threading

import numpy as np
from numpy.typing import NDArray

MISSING = np.nan
"""Marks a sample of a float32 ring that never arrived: it is not invented, and its interval does not vote."""


class Bank:
    """`rows` rings of `capacity` samples each, float32 in [-1, 1], NaN where a sample is missing.

    rate      Hz, the same for every row
    written   (rows,) int64, absolute index one past the newest sample
    consumed  (rows,) int64, absolute index of the oldest sample that the reader still wants
    stamp     (rows,) float64, `time.monotonic()` at which sample `written` - 1 was captured
    ended     (rows,) bool, the writer will write no more
    overflows (rows,) int64, how often the device or the writer lost samples
    skipped   (rows,) int64, samples known to be lost before they reached the ring (already part of `written`)
    """

    def __init__(self, rate: int, rows: int, capacity: int) -> None:
        if rate <= 0 or rows <= 0 or capacity <= 0:
            raise ValueError(f"a bank needs positive sizes, not rate={rate} rows={rows} capacity={capacity}")
        self.rate = rate
        self.rows = rows
        self.capacity = capacity
        # Filled, not zeroed lazily: a first-touch page fault costs more than a packet.
        self.data: NDArray[np.float32] = np.full((rows, capacity), MISSING, np.float32)
        self.written: NDArray[np.int64] = np.zeros(rows, np.int64)
        self.consumed: NDArray[np.int64] = np.zeros(rows, np.int64)
        self.stamp: NDArray[np.float64] = np.zeros(rows, np.float64)
        self.ended: NDArray[np.bool_] = np.zeros(rows, np.bool_)
        self.overflows: NDArray[np.int64] = np.zeros(rows, np.int64)
        self.skipped: NDArray[np.int64] = np.zeros(rows, np.int64)
        self.arrived = threading.Event()
        """Set by the writer after each write; a reader that shares one event among banks replaces it."""

    def write(self, row: int, samples: NDArray[np.float32], stamp: float) -> None:
        """Append samples, shape (n,), to a row; `stamp` is when the last of them was captured."""
        n = len(samples)
        kept = samples[-self.capacity :]
        end = int(self.written[row]) + n
        at = (end - len(kept)) % self.capacity
        head = min(len(kept), self.capacity - at)
        self.data[row, at : at + head] = kept[:head]
        self.data[row, : len(kept) - head] = kept[head:]
        self.stamp[row] = stamp
        self.written[row] = end
        self.arrived.set()

    def skip(self, row: int, n: int, stamp: float) -> None:
        """Append n missing samples: time passed, and what was said in it is lost."""
        self.write(row, np.full(min(n, self.capacity), MISSING, np.float32), stamp)
        self.written[row] += n - min(n, self.capacity)
        self.skipped[row] += n

    def finish(self, row: int) -> None:
        """The writer's last word on a row."""
        self.ended[row] = True
        self.arrived.set()

    def room(self, row: int) -> int:
        """Samples that can be written before something unread is overwritten (for writers that can wait)."""
        return self.capacity - int(self.written[row] - self.consumed[row])

    def read(self, rows: NDArray[np.intp], start: NDArray[np.int64], n: int) -> NDArray[np.float32]:
        """n samples of each row from its absolute index start: (len(rows), n). Zeros before a stream's start, and
        beyond its newest sample (asked for only at its end).

        What the writer has overtaken, before or while it was read, comes back as MISSING.
        """
        index = start[:, None] + np.arange(n)
        out = self.data[rows[:, None], index % self.capacity]
        written = self.written[rows]
        oldest = written - self.capacity
        if (start < oldest).any():
            out[index < oldest[:, None]] = MISSING
        if (start < 0).any() or (start + n > written).any():
            out[(index < 0) | (index >= written[:, None])] = 0.0
        return out

    def reset(self, row: int) -> None:
        """Make a row ready for a new stream."""
        self.data[row] = MISSING
        for field in (self.written, self.consumed, self.stamp, self.overflows, self.skipped):
            field[row] = 0
        self.ended[row] = False
