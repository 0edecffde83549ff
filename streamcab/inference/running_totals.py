"""Running totals of what intervals of talk add, for many windows: the sum over the newest is the difference of two.

Totals are whole numbers, so nothing is rounded and nothing drifts, for hours or for months. Knows nothing of what is
summed, of pauses, or of time but as a count of intervals.
"""

import numpy as np
from numpy.typing import NDArray

UNIT = 2.0**-40
"""Of the totals. They may run over: a difference of whole numbers is right all the same."""

Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]


class RunningTotals:
    """Totals of `columns` numbers in `rows` windows, before each of their newest intervals and now.

    Args:
        rows: Number of windows.
        columns: Numbers that an interval adds.
        length: Intervals of a window.
        spare: Intervals beyond `length` that `move` may take back without cost to the oldest ones.
    """

    def __init__(self, rows: int, columns: int, length: int, spare: int = 0) -> None:
        self._length, self._room = length, length + spare
        # Before each interval, at its index % room; zeros before the start.
        self._before = np.zeros((rows, self._room, columns), np.int64)
        self._total = np.zeros((rows, columns), np.int64)

    @property
    def bytes_per_row(self) -> int:
        """Memory of one window."""
        return (self._before.nbytes + self._total.nbytes) // len(self._total)

    def reset(self, rows: NDArray[np.intp]) -> None:
        """Make windows ready for new talk."""
        self._before[rows] = self._total[rows] = 0

    def add(self, rows: NDArray[np.intp], talk: Flags, index: Counts, gained: NDArray[np.float32]) -> None:
        """Add H intervals to B windows.

        Args:
            rows: The windows, (B,), none twice.
            talk: Which intervals are added, (B, H).
            index: Position of each in its talk, (B, H).
            gained: What each adds, (B, H, columns).
        """
        if not (whole := talk.all()):
            gained = gained * talk[..., None]
        numbers = np.rint(gained * (1 / UNIT)).astype(np.int64)
        after = self._total[rows, None] + numbers.cumsum(1)
        self._total[rows] = after[:, -1]
        b, j = (np.arange(len(rows))[:, None], np.arange(talk.shape[1])) if whole else np.nonzero(talk)
        self._before[rows[b], index[b, j] % self._room] = (after - numbers)[b, j]

    def newest(self, rows: NDArray[np.intp], end: Counts, n: int) -> NDArray[np.float64]:
        """Return the sums over the n newest intervals of talk, whose ends are `end`, (B, columns)."""
        found = self._total[rows] - self._before[rows, (end - n) % self._room]
        return np.asarray(found * UNIT, np.float64)

    def jump(self, row: int, old: int, new: int) -> None:
        """Advance from interval `old` to `new` with nothing to add."""
        self._before[row, np.arange(old, new) % self._room] = self._total[row]

    def move(self, old: int, new: int, start: int, told: int, end: int, by: int) -> None:
        """Give the intervals start .. end - 1 of a window to another, `by` later.

        Args:
            old: The window that had them.
            new: The window that gets them; its talk ends at `start` + `by`.
            start: First interval to move.
            told: Interval at which the move was decided: those that it had cost `old` by then are restored.
            end: End of the talk of `old`.
            by: How much later they are in `new`.
        """
        room, moved = self._room, np.arange(start, end)
        before = self._before[old, moved % room]
        gone = before[0] if len(moved) else self._total[old].copy()
        oldest = self._before[old, (told - self._length) % room].copy()
        self._before[new, (moved + by) % room] = self._total[new] + before - gone
        self._total[new] += self._total[old] - gone
        self._total[old] = gone
        self._before[old, np.arange(start - self._length, told - self._length) % room] = oldest
