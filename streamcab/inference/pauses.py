"""Which intervals of a stream are talk: those that vote, and the first second of each pause.

Knows nothing of answers or of voices.
"""

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]


class Pauses:
    """The current pauses of `slots` streams.

    Args:
        slots: Number of streams.
        second: Intervals of a pause that are talk still, at most `length` - 1.
        length: Intervals of a pause that empties a window.
    """

    def __init__(self, slots: int, second: int, length: int) -> None:
        self._second, self._length = min(second, length - 1), length
        # Intervals since the newest that voted.
        self._since = np.full(slots, length, np.int64)

    def reset(self, slots: NDArray[np.intp]) -> None:
        """Make slots ready for new streams."""
        self._since[slots] = self._length

    def add(self, slots: NDArray[np.intp], real: Flags, votes: Flags) -> tuple[Flags, Counts, Flags]:
        """Advance B streams by H intervals.

        Args:
            slots: The streams, (B,).
            real: Which intervals are any, (B, H): what lies before the start of a stream is none.
            votes: Which of them vote, (B, H).

        Returns:
            Which are talk, (B, H); how long before each the newest vote was, (B, H); in which streams a pause has
            become as long as the window, (B,): of these only what came after it is talk here.
        """
        at = np.arange(real.shape[1])
        newest = np.maximum.accumulate(np.where(votes, at, -1), 1)
        since = np.where(newest >= 0, at - newest, self._since[slots, None] + real.cumsum(1))
        self._since[slots] = since[:, -1]
        talk = real & (since <= self._second)
        over = real & (since == self._length)
        gone = over.any(1)
        if gone.any():
            talk[gone] &= at > over[gone].argmax(1)[:, None]
        return talk, since, gone

    def jump(self, slot: int, gap: int) -> tuple[int, bool]:
        """Advance a stream by `gap` intervals of pause; how many of them are talk, and whether it empties a window."""
        since = int(self._since[slot])
        self._since[slot] += gap
        talk = min(max(self._second - since, 0), gap)
        return talk, since < self._length <= since + gap
