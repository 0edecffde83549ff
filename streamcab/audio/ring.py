"""Rings of captured samples: one writer, one reader, counted from the stream's start, the oldest overwritten.

A `Bank` holds the rings of many streams of one sample rate side by side, so that thousands of them are read in one
gather. A microphone is a bank of one row. Knows nothing of the origin or use of samples.

The writer owns everything but `consumed`, which is the reader's. A torn read cannot happen unseen: the writer says
what it will overwrite before it does (`claimed`), and the reader looks there after copying (`oldest`).
"""

import threading
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Sample = TypeVar("Sample", bound=np.generic)

NO_SAMPLE = np.nan
"""Marks a sample of a float32 ring that never arrived: it is not invented, and its interval does not vote."""

HOLE_S = 0.25
"""A hole longer than this is passed over by the reader, not read."""


def windows(data: NDArray[Sample], n: int) -> NDArray[Sample]:
    """View every run of n neighbours in a contiguous array: (data.size - n + 1, n).

    Indexed by where runs start, it reads or writes one memcpy per run: 60 x the speed of an index per sample.
    """
    return np.ndarray((data.size - n + 1, n), data.dtype, data, 0, (data.itemsize, data.itemsize))


class Bank:
    """`rows` rings of `capacity` samples each, float32 in [-1, 1], NaN where a sample is missing.

    rate      Hz, the same for every row
    written   (rows,) int64, absolute index one past the newest sample
    claimed   (rows,) int64, what `written` will be when the write that is under way is done
    consumed  (rows,) int64, absolute index of the oldest sample that the reader still wants
    stamp     (rows,) float64, `time.monotonic()` at which sample `written` - 1 was captured
    ended     (rows,) bool, the writer will write no more
    overflows (rows,) int64, how often the device or the writer lost samples
    skipped   (rows,) int64, samples known to be lost before they reached the ring (already part of `written`)
    silence_from, silence_to  (rows,) int64, of the newest long hole: nothing in it can come, no reader is late

    `data` is given by subclasses that store samples otherwise; `read` returns the same.
    """

    def __init__(self, rate: int, rows: int, capacity: int, data: NDArray[Any] | None = None) -> None:
        if rate <= 0 or rows <= 0 or capacity <= 0:
            raise ValueError(f"a bank needs positive sizes, not rate={rate} rows={rows} capacity={capacity}")
        self.rate = rate
        self.rows = rows
        self.capacity = capacity
        # Filled, not zeroed lazily: a first-touch page fault costs more than a packet.
        self.data: NDArray[Any] = np.full((rows, capacity), NO_SAMPLE, np.float32) if data is None else data
        self.written: NDArray[np.int64] = np.zeros(rows, np.int64)
        self.claimed: NDArray[np.int64] = np.zeros(rows, np.int64)
        self.consumed: NDArray[np.int64] = np.zeros(rows, np.int64)
        self.stamp: NDArray[np.float64] = np.zeros(rows, np.float64)
        self.ended: NDArray[np.bool_] = np.zeros(rows, np.bool_)
        self.overflows: NDArray[np.int64] = np.zeros(rows, np.int64)
        self.skipped: NDArray[np.int64] = np.zeros(rows, np.int64)
        self.silence_from: NDArray[np.int64] = np.zeros(rows, np.int64)
        self.silence_to: NDArray[np.int64] = np.zeros(rows, np.int64)
        self.arrived = threading.Event()
        """Set by the writer after each write; a reader that shares one event among banks replaces it."""

    def write(self, row: int, samples: NDArray[np.float32], stamp: float) -> None:
        """Append samples, shape (n,), to a row; `stamp` is when the last of them was captured."""
        self._append(row, samples[-self.capacity :], len(samples), stamp)

    def _append(self, row: int, kept: NDArray[np.float32], n: int, stamp: float) -> None:
        """Move the row's end on by n samples, of which the last are `kept`; the rest would be overwritten at once."""
        end = int(self.written[row]) + n
        self.claimed[row] = end
        at = (end - len(kept)) % self.capacity
        head = min(len(kept), self.capacity - at)
        self.data[row, at : at + head] = kept[:head]
        self.data[row, : len(kept) - head] = kept[head:]
        self.stamp[row] = stamp
        self.written[row] = end
        self.arrived.set()

    def skip(self, row: int, n: int, stamp: float) -> None:
        """Append n missing samples: time has passed, and its audio is lost."""
        start = int(self.written[row])
        if n > HOLE_S * self.rate:
            self.silence_from[row], self.silence_to[row] = start, start + n
        self.skipped[row] += n
        self._append(row, np.full(min(n, self.capacity), NO_SAMPLE, np.float32), n, stamp)

    def finish(self, row: int) -> None:
        """Mark a row as complete: its writer writes no more."""
        self.ended[row] = True
        self.arrived.set()

    def room(self, row: int) -> int:
        """Return how many samples can be written before something unread is overwritten (for writers that can wait)."""
        return self.capacity - int(self.written[row] - self.consumed[row])

    def read(self, rows: NDArray[np.intp], start: NDArray[np.int64], n: int) -> NDArray[np.float32]:
        """Return n samples of each row from its absolute index start: (len(rows), n).

        Zeros before a stream's start, and beyond its newest sample (asked for only at its end).

        Samples that the writer has overtaken, before or during the copy, come back as NO_SAMPLE.
        """
        out = self._gather(rows, start, n)
        written, oldest = self.written[rows], self.oldest(rows)
        if (start < oldest).any():
            out[start[:, None] + np.arange(n) < oldest[:, None]] = NO_SAMPLE
        if (start < 0).any() or (start + n > written).any():
            index = start[:, None] + np.arange(n)
            out[(index < 0) | (index >= written[:, None])] = 0.0
        return out

    def oldest(self, rows: NDArray[np.intp]) -> NDArray[np.int64]:
        """Return the absolute index before which each row's samples are overwritten, (len(rows),)."""
        return self.claimed[rows] - self.capacity

    def _gather(self, rows: NDArray[np.intp], start: NDArray[np.int64], n: int) -> NDArray[np.float32]:
        """Return the rings' contents at these places, valid or not, (len(rows), n): one copy a row, or two."""
        at = start % self.capacity
        whole = at + n <= self.capacity
        if whole.all():
            out: NDArray[np.float32] = windows(self.data, n)[rows * self.capacity + at]
            return out
        out = np.empty((len(rows), n), self.data.dtype)
        out[whole] = windows(self.data, n)[(rows * self.capacity + at)[whole]] if whole.any() else 0
        index = (at[~whole, None] + np.arange(n)) % self.capacity
        out[~whole] = self.data[rows[~whole, None], index]
        return out

    def reset(self, row: int) -> None:
        """Make a row ready for a new stream."""
        self.data[row] = NO_SAMPLE
        for field in (
            *(self.written, self.claimed, self.consumed, self.stamp, self.overflows, self.skipped),
            *(self.silence_from, self.silence_to),
        ):
            field[row] = 0
        self.ended[row] = False
