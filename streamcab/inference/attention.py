"""Mean attention of the intervals that vote in a window, to the whole second: it is shown, and decides nothing.

Kept in blocks of a second of talk, begun afresh, so nothing drifts. Knows nothing of the answer.
"""

import numpy as np
from numpy.typing import NDArray

from streamcab.inference.seconds import added, in_seconds

Flags = NDArray[np.bool_]
Ints = NDArray[np.intp]


class AttentionSums:
    """Sums over the last `length` intervals of talk in `rows` windows, `second` of which make up a second."""

    def __init__(self, rows: int, classifiers: int, length: int, second: int) -> None:
        self._second = second
        # The last column counts the votes.
        self._sums = np.zeros((rows, -(-length // second), classifiers + 1))

    @property
    def blocks(self) -> int:
        """Seconds that a window spans."""
        return self._sums.shape[1]

    @property
    def bytes_per_row(self) -> int:
        """Memory of one window."""
        return self._sums.nbytes // len(self._sums)

    def reset(self, rows: Ints) -> None:
        """Make windows ready for new talk."""
        self._sums[rows] = 0

    def add(self, rows: Ints, talk: Flags, index: NDArray[np.int64], gained: NDArray[np.float32]) -> None:
        """Add the intervals of `talk` among at most a second of intervals; see RunningTotals.add.

        Args:
            rows: The windows, (B,), none twice.
            talk: Which intervals are added, (B, H).
            index: Position of each in its talk, (B, H).
            gained: Attention and vote of each, (B, H, classifiers + 1); zeros where it does not vote.
        """
        for some, block, fresh, here in in_seconds(talk, index, self._second, self.blocks):
            place = rows[some], block
            self._sums[rows[some[fresh]], block[fresh]] = 0
            self._sums[place] = added(self._sums[place], gained[some], here)

    def jump(self, row: int, old: int, new: int) -> None:
        """Advance from interval `old` to `new` with nothing to add."""
        self._sums[row, np.arange(-(-old // self._second), -(-new // self._second)) % self.blocks] = 0

    def move(self, old: int, new: int, here: Ints, there: Ints) -> None:
        """Give blocks `here` of a window to another, as `there`."""
        self._sums[new, there] = self._sums[old, here]
        self.clear(old, here)

    def clear(self, row: int, blocks: Ints) -> None:
        """Empty some blocks."""
        self._sums[row, blocks] = 0

    def read(self, rows: Ints) -> NDArray[np.float64]:
        """Return the mean attention, (B, classifiers); zeros without votes."""
        total = self._sums[rows].sum(1)
        mean: NDArray[np.float64] = total[:, :-1] / np.maximum(total[:, -1:], 1)
        return mean
