"""The level of speech and of the noise floor of each stream, by which intervals are judged and normalised.

The noise floor is the lowest level of the last seconds. Mean and deviation are those of the voiced samples of the last
blocks of a second; a block begins from zero, so nothing drifts. Everything is addressed by absolute position, so chunks
do not matter. Knows nothing of a stream's state, of sample rates or of the net.
"""

import numpy as np
from numpy.typing import NDArray

from streamcab.dsp.gate import threshold

Ints = NDArray[np.intp]
Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class SpeechLevels:
    """Levels and sums of many streams, each in a slot. An interval's statistics are count, sum and sum of squares.

    Args:
        slots: Number of streams.
        floor: Intervals over which the lowest level is the noise floor.
        block: Intervals per block.
        blocks: Blocks whose voiced samples count.
        detected: Whether a speech detector identifies speech.
    """

    def __init__(self, slots: int, floor: int, block: int, blocks: int, detected: bool) -> None:
        self.block, self.floor, self._detected = block, floor, detected
        # Missing intervals are infinity: only the smallest is asked for.
        self._levels = np.full((slots, floor), np.inf)
        # Of all blocks; and summed up, without the one that is being filled.
        self._blocks = np.zeros((slots, blocks, 3))
        self._closed = np.zeros((slots, 3))

    @property
    def bytes_per_slot(self) -> int:
        """Memory of one stream."""
        return sum(a.nbytes // len(a) for a in (self._levels, self._blocks, self._closed))

    def reset(self, slots: Ints) -> None:
        """Make slots ready for new streams."""
        self._levels[slots] = np.inf
        self._blocks[slots] = self._closed[slots] = 0

    def skip(self, slots: Ints, k: Counts, n: Counts) -> None:
        """Let n (B,) missing intervals pass, from k (B,) on."""
        blocks = self._blocks.shape[1]
        first, last = -(-k // self.block), (k + n) // self.block
        for b in range(blocks):
            begun = first + b <= last
            self._blocks[slots[begun], (first[begun] + b) % blocks] = 0
        unheard = (np.arange(self.floor) - k[:, None]) % self.floor < n[:, None]
        self._levels[slots] = np.where(unheard, np.inf, self._levels[slots])
        self._closed[slots] = self._blocks[slots].sum(1) - self._blocks[slots, last % blocks]

    def voiced(self, slots: Ints) -> Floats:
        """Return the number of voiced samples in all blocks, (B,)."""
        found: Floats = self._blocks[slots, :, 0].sum(1)
        return found

    def begin(self, slots: Ints, k: Counts) -> Floats:
        """Begin the block of interval k (B,); return the statistics of the others, (B, 3)."""
        self._blocks[slots, k // self.block % self._blocks.shape[1]] = 0
        closed: Floats = self._blocks[slots].sum(1)
        self._closed[slots] = closed
        return closed

    def remains(self, slots: Ints, k: Counts) -> Flags:
        """Return whether voiced samples remain when the next block begins, at interval k (B,) or later."""
        blocks = self._blocks.shape[1]
        current = (k - 1) // self.block % blocks
        voiced = self._closed[slots, 0] + self._blocks[slots, current, 0]
        return np.asarray(voiced > self._blocks[slots, (current + 1) % blocks, 0])

    def lowest(self, slots: Ints) -> Floats:
        """Return the noise floor, (B,); infinity if there is none."""
        found: Floats = self._levels[slots].min(1)
        return found

    def forget_floor(self, slots: Ints) -> None:
        """Look for a noise floor afresh."""
        self._levels[slots] = np.inf

    def note(self, slots: Ints, k: Counts, level: Floats) -> None:
        """Add the level (B,) of interval k (B,), which is not voiced."""
        self._levels[slots, k % self.floor] = level

    def learn(self, slot: int, k: Counts, last: int, stats: Floats) -> Floats:
        """Add the voiced intervals k (n,) of a stream, stats (n, 3), up to interval `last`; return the sum (3,)."""
        blocks = self._blocks.shape[1]
        np.add.at(self._blocks[slot], k // self.block % blocks, stats)
        total: Floats = self._blocks[slot].sum(0)
        self._closed[slot] = total - self._blocks[slot, last // self.block % blocks]
        return total

    def judge(
        self, slots: Ints, k: Counts, level: Floats, said: Flags, stats: Floats
    ) -> tuple[Flags, Floats, Floats]:
        """Take H intervals of each stream, at most `floor`: which are voiced.

        Args:
            slots: The streams, (B,).
            k: Intervals, one after another, (B, H).
            level: Power of each; infinity where it is missing.
            said: Whether it is speech.
            stats: Its statistics, (B, H, 3).

        Returns:
            Which are voiced, (B, H); the mean power of speech before each, (B, H); the statistics after each,
            (B, H, 3).
        """
        floor, heard, block = self._floors(slots, k, level), np.isfinite(level), k // self.block
        block %= self._blocks.shape[1]
        speech, voiced, totals = np.empty(level.shape), np.empty(level.shape, np.bool_), np.empty(stats.shape)
        closed, filling = self._closed[slots], self._blocks[slots, block[:, 0]]
        # What was voiced before is part of what an interval is measured by: one after the other.
        for j in range(k.shape[1]):
            begins = np.flatnonzero(k[:, j] % self.block == 0)
            if begins.size:
                if j:
                    self._blocks[slots[begins], block[begins, j - 1]] = filling[begins]
                closed[begins], filling[begins] = self.begin(slots[begins], k[begins, j]), 0
            total = closed + filling
            n = np.maximum(total[:, 0], 1)
            speech[:, j] = total[:, 2] / n - (total[:, 1] / n) ** 2
            above = level[:, j] > threshold(floor[:, j], speech[:, j], self._detected)
            voiced[:, j] = above & heard[:, j] & said[:, j]
            filling += stats[:, j] * voiced[:, j, None]
            np.add(closed, filling, out=totals[:, j])
        self._blocks[slots, block[:, -1]] = filling
        return voiced, speech, totals

    def _floors(self, slots: Ints, k: Counts, level: Floats) -> Floats:
        """Add levels (B, H); return the noise floor at each of them."""
        row, h = slots[:, None], k.shape[1]
        older = self._levels[row, (k[:, :1] + np.arange(1, self.floor)) % self.floor]
        self._levels[row, k % self.floor] = level
        floor = np.minimum.accumulate(level, 1)
        if h > 1:
            # What the first of them still sees and the last does not.
            leaving = np.minimum.accumulate(older[:, h - 2 :: -1], 1)[:, ::-1]
            np.minimum(floor[:, :-1], leaving, out=floor[:, :-1])
        np.minimum(floor, older[:, h - 1 :].min(1, initial=np.inf, keepdims=True), out=floor)
        return floor
