"""Sums over the counted intervals of a window, in blocks of a second. Both kinds of evidence are built on these.

An interval counts if it votes or closely follows one that does, since the closure of a stop and the end of a word are
speech too. Each block starts from zero, so errors do not accumulate; a window is a whole number of seconds. Knows
nothing of audio, of the network or of the meaning of the numbers, and knows time only as a count of intervals.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.nn.architecture import Architecture

BLOCK_S = 1.0
"""Seconds per block."""
HANG_S = 0.4
"""Seconds after a voting interval in which intervals still count."""

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Spans:
    """BLOCK_S and HANG_S in intervals, and the length of a window."""

    block: int
    hang: int
    length: int

    @classmethod
    def of(cls, architecture: Architecture, length: int) -> "Spans":
        """Return the spans for a window of `length` intervals of this architecture."""
        return cls(architecture.intervals(BLOCK_S), architecture.intervals(HANG_S), length)


class Accumulator:
    """Sums `width` numbers for each of `slots` streams over the last `spans.length` intervals; the first is the count.

    Also keeps the newest `room` of u (K,), at (absolute interval) % room; zeros for intervals that do not count.
    """

    def __init__(self, slots: int, summary: int, width: int, room: int, spans: Spans) -> None:
        self._block_length, self._hang = spans.block, spans.hang
        self._blocks, self._room = -(-spans.length // spans.block), room
        self._sums = np.zeros((slots, self._blocks, width), np.float32)
        # What was folded; nothing else is ever kept beyond the window.
        self._folded = np.zeros((slots, width))
        # Intervals since the newest that voted.
        self._since = np.full(slots, spans.hang + 1, np.int64)
        self._past = np.zeros((slots, room, summary), np.float32)
        self._counted = np.zeros((slots, room), np.bool_)

    @property
    def bytes_per_slot(self) -> int:
        """Return the memory of one stream in bytes."""
        return (self._sums.nbytes + self._folded.nbytes + self._past.nbytes + self._counted.nbytes) // len(
            self._sums
        ) + 8

    def reset(self, slots: Ints) -> None:
        """Make slots ready for new streams."""
        for a in (self._sums, self._folded, self._past, self._counted):
            a[slots] = 0
        self._since[slots] = self._hang + 1

    def fold(self, slots: Ints) -> None:
        """Move the sums of the blocks to the permanent ones: for clips that are heard as a whole."""
        self._folded[slots] += self._sums[slots].sum(1, dtype=np.float64)
        self._sums[slots] = 0

    def _total(self, slots: Ints) -> Floats:
        """Sum over the window, (B, width)."""
        total: Floats = self._folded[slots] + self._sums[slots].sum(1, dtype=np.float64)
        return total

    def _count(
        self, slots: Ints, index: NDArray[np.int64], u: NDArray[np.float32], votes: Flags
    ) -> tuple[NDArray[np.float32], Flags]:
        """Take the next interval of B streams, u (B, K), NaN if missing. Return u, zeros where it does not count, and
        whether it counts. Intervals before the first, index < 0, do not count."""
        real = index >= 0
        since = np.where(real & votes, 0, self._since[slots] + real)
        self._since[slots] = since
        count = real & (since <= self._hang) & np.isfinite(u[:, 0])
        return np.where(count[:, None], u, np.float32(0)), count

    def _keep(self, slots: Ints, index: NDArray[np.int64], u: NDArray[np.float32], count: Flags) -> None:
        here = index % self._room
        self._past[slots, here], self._counted[slots, here] = u, count

    def _block(self, slots: Ints, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the block of each interval, emptied if the interval is its first."""
        block = index // self._block_length % self._blocks
        fresh = (index >= 0) & (index % self._block_length == 0)
        if fresh.any():
            self._sums[slots[fresh], block[fresh]] = 0
        return block

    def _pass_over(self, slot: int, old: int, new: int) -> None:
        """Empty the blocks that begin from interval `old` to `new`."""
        length = self._block_length
        begun = np.arange(max(-(-old // length), new // length - self._blocks + 1), new // length + 1)
        self._sums[slot, begun % self._blocks] = 0


def counted(u: NDArray[np.float32], votes: Flags, hang: int) -> Flags:
    """Return which intervals of a whole clip count, from those that vote: u (N, K), votes (N,), HANG_S in intervals."""
    at = np.arange(len(votes))
    newest = np.maximum.accumulate(np.where(votes, at, -hang - 1))
    found: Flags = (at - newest <= hang) & np.isfinite(u[:, 0])
    return found
