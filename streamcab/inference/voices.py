"""Changes of voice on a line, from the numbers v_t of the intervals that vote.

Votes are taken in blocks, so that nothing depends on chunks. After each block the newest ones, a second or two, are
compared with the voice that is being heard, with those that were heard before, and with none of them (nn/voice.py); a
change is told when the odds for another voice exceed a threshold, together with the interval at which it began. Of each
voice only the mean of its numbers is kept, and only as long as the stream lasts. Knows nothing of c_t or of windows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.nn.voice import Metric
from streamcab.nn.weights import Net

BLOCK = 16
"""Votes of a block: 0.4 s of speech."""
LEAST, NEWEST = 3, 8
"""Blocks that another voice has to be heard for: the fewest, and the most that are looked at."""
FEWEST, ALL = np.array([LEAST]), np.arange(1, NEWEST + 1)
KNOWN = 5
"""Blocks of a voice before a change from it can be told."""
LONGEST = 50
"""Blocks, 20 s, beyond which a voice is not known any better, so that its mean follows it."""

Slots = NDArray[np.intp]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Change:
    """In `slot` another voice has been heard from interval `since` on, as was clear after `told`.

    before, after  places of the two voices        number  of the new one, counted from 1 in its stream
    fresh          it has not been heard before: its place may have been another's
    """

    slot: int
    since: int
    told: int
    before: int
    after: int
    number: int
    fresh: bool


class Voices:
    """The voices of `slots` streams, up to `most` of each, in places from 0 to most - 1."""

    def __init__(self, slots: int, most: int, metric: Metric) -> None:
        if most < 2:
            raise ValueError(f"voices are told apart from two on, not {most}")
        self._threshold, self._ratios, self.most = (
            metric.threshold,
            metric.ratios(LONGEST + NEWEST, NEWEST),
            most,
        )
        n = len(metric.between)
        self.place = np.zeros(slots, np.int64)
        """(slots,) place of the voice that is heard."""
        self.number = np.ones(slots, np.int64)
        """(slots,) its number."""
        # The block that is being heard: the sum of its votes, how many there are, and where it began.
        self._sum = np.zeros((slots, n))
        self._votes = np.zeros(slots, np.int64)
        self._began = np.zeros(slots, np.int64)
        # The newest blocks, newest last: means, where each began, and how many there are; zeros before them.
        self._new = np.zeros((slots, NEWEST, n))
        self._new_began = np.zeros((slots, NEWEST), np.int64)
        self._filled = np.zeros(slots, np.int64)
        # Of each voice, without the newest blocks: mean, blocks, number, and when it was heard last, in changes.
        self._mean = np.zeros((slots, most, n))
        self._blocks = np.zeros((slots, most), np.int64)
        self._numbers = np.zeros((slots, most), np.int64)
        self._numbers[:, 0] = 1
        self._last = np.zeros((slots, most), np.int64)
        self._count = np.ones(slots, np.int64)
        self._changes = np.zeros(slots, np.int64)

    @property
    def _columns(self) -> tuple[NDArray[np.float64] | Ints, ...]:
        newest = self._sum, self._votes, self._began, self._new, self._new_began, self._filled
        return *newest, self.place, self._mean, self._blocks, self._numbers, self._last, self._changes

    @property
    def bytes_per_slot(self) -> int:
        """Memory of one stream."""
        return 16 + sum(column.nbytes for column in self._columns) // len(self.place)

    def reset(self, slots: Slots) -> None:
        """Make slots ready for new streams."""
        for column in self._columns:
            column[slots] = 0
        self.number[slots] = self._count[slots] = self._numbers[slots, 0] = 1

    def hear(self, slots: Slots, at: Ints, v: NDArray[np.float32], votes: NDArray[np.bool_]) -> list[Change]:
        """Hear H <= BLOCK more intervals of B streams; return the changes that they tell, at most one a stream.

        Args:
            slots: (B,), none twice.
            at: (B, H), what the interval of each is called; see Change.
            v: (B, H, numbers); what is not finite does not count.
            votes: (B, H), which count.
        """
        finite = np.isfinite(v[..., 0])
        if not finite.all():
            v = np.where(finite[..., None], v, np.float32(0))
        counts = votes & finite
        before = self._votes[slots]
        # The vote of each interval within its block; those from BLOCK on are the next block's.
        nth = before[:, None] + np.add.accumulate(counts, 1, np.int64)
        after = nth[:, -1]
        full = np.flatnonzero(after >= BLOCK)
        here = counts & (nth <= BLOCK) if full.size else counts
        if (begins := np.flatnonzero((before == 0) & (after > 0))).size:
            self._began[slots[begins]] = at[begins, counts[begins].argmax(1)]
        wide = v.astype(np.float64)
        self._sum[slots] += np.matmul(here[:, None], wide, dtype=np.float64)[:, 0]
        self._votes[slots] = after
        return self._complete(slots[full], at[full], wide[full], counts[full], nth[full]) if full.size else []

    def shift(self, slot: int, by: int) -> None:
        """Add to the numbers of this stream's intervals: the newest ones have moved."""
        self._began[slot] += by
        self._new_began[slot] += by

    def _complete(self, s: Slots, at: Ints, v: Floats, counts: NDArray[np.bool_], nth: Ints) -> list[Change]:
        """Complete a block of each of these streams, and begin the next one."""
        new, filled = self._new[s], self._filled[s]
        full = filled == NEWEST
        if full.all():
            self._know(s, new[:, 0])
        elif full.any():
            self._know(s[full], new[full, 0])
        new[:, :-1], new[:, -1] = new[:, 1:], self._sum[s] / BLOCK
        self._new[s] = new
        self._new_began[s, :-1], self._new_began[s, -1] = self._new_began[s, 1:], self._began[s]
        self._filled[s] = filled = np.minimum(filled + 1, NEWEST)
        changes = self._compare(s, new, filled, at[np.arange(len(s)), (nth >= BLOCK).argmax(1)])
        later = counts & (nth > BLOCK)
        self._sum[s] = np.matmul(later[:, None], v, dtype=np.float64)[:, 0]
        self._votes[s] = nth[:, -1] - BLOCK
        self._began[s] = at[np.arange(len(s)), later.argmax(1)]
        return changes

    def _know(self, s: Slots, block: Floats) -> None:
        """Learn a block (B, numbers) that is no longer among the newest: it is of the voice that is heard."""
        place = self.place[s]
        n = np.minimum(self._blocks[s, place], LONGEST - 1)
        self._mean[s, place] = (self._mean[s, place] * n[:, None] + block) / (n + 1)[:, None]
        self._blocks[s, place] = n + 1

    def _compare(self, s: Slots, new: Floats, filled: Ints, ended: Ints) -> list[Change]:
        """Compare the newest blocks of these streams, (B, NEWEST, numbers), with what is known; `ended` is the last
        vote of each."""
        # Mostly the newest few are the present voice's: then no more is asked.
        few = np.add.reduce(new[:, -LEAST:], 1)[:, None]
        better, _ = self._odds(s, filled, few, np.add.reduce(new[:, :-LEAST], 1)[:, None], FEWEST)
        asked = np.flatnonzero(better[:, 0] > 0)
        if not asked.size:
            return []
        s, ended, sums = s[asked], ended[asked], np.add.accumulate(new[asked, ::-1], 1)
        better, which = self._odds(s, filled[asked], sums, sums[:, -1:] - sums, ALL)
        n, rows = better.argmax(1), np.arange(len(s))
        told = (better[rows, n] > self._threshold) & (n + 1 >= LEAST)
        return [
            self._change(int(s[i]), int(which[i, n[i]]), int(n[i]) + 1, int(ended[i]))
            for i in np.flatnonzero(told).tolist()
        ]

    def _odds(
        self, s: Slots, filled: Ints, newest: Floats, older: Floats, counts: Ints
    ) -> tuple[Floats, Ints]:
        """Return the log-odds that the n newest blocks are of another voice, and the place of that, the present one's
        where it is none of those known: by n, as `counts` has them, both (B, len(counts)).

        newest, older  (B, len(counts), numbers): the sum of those, and of the others that are not known yet
        """
        rows, place, blocks, means = np.arange(len(s)), self.place[s], self._blocks[s], self._mean[s]
        mean = newest / counts[:, None]
        # The present voice is known by the blocks before the newest, too.
        before, had = filled[:, None] - counts, blocks[rows, place]
        own = had[:, None] + before
        blocks_known = np.maximum(own, 1)
        known = ((means[rows, place] * had[:, None])[:, None] + older) / blocks_known[..., None]
        present = self._ratios(known, blocks_known, mean, counts)
        # A voice that is none of those known has odds of 0; its place is found when it is needed.
        best: Floats | float = 0.0
        which = np.broadcast_to(place[:, None], own.shape)
        blocks[rows, place] = 0
        if blocks.any():
            odds = self._ratios(means[:, None], blocks[:, None], mean[:, :, None], counts[:, None])
            best = np.maximum(odds.max(2), 0)
            which = np.where(best > 0, odds.argmax(2), which)
        return np.where((before >= 0) & (own >= KNOWN), best - present, -np.inf), which

    def _change(self, slot: int, to: int, n: int, told: int) -> Change:
        """Change to another voice, that of the n newest blocks: the one in place `to`, or a new one where that has
        none."""
        before, one = int(self.place[slot]), np.array([slot])
        for i in range(NEWEST - int(self._filled[slot]), NEWEST - n):
            self._know(one, self._new[one, i])
        self._changes[slot] += 1
        self._last[slot, before] = self._changes[slot]
        fresh = to == before or self._blocks[slot, to] == 0
        if fresh:
            self._count[slot] += 1
            # An empty place, or that of the voice that was heard longest ago; the present one is the newest.
            empty = np.flatnonzero(self._blocks[slot] == 0)
            to = int(empty[0]) if empty.size else int(self._last[slot].argmin())
            self._mean[slot, to], self._blocks[slot, to], self._numbers[slot, to] = 0, 0, self._count[slot]
        self._filled[slot] = n
        self._new[slot, :-n] = 0
        self.place[slot], self.number[slot] = to, self._numbers[slot, to]
        since = int(self._new_began[slot, -n])
        return Change(slot, since, told, before, to, int(self.number[slot]), fresh)


def course(net: Net, u: NDArray[np.float32], votes: NDArray[np.bool_], most: int) -> Ints:
    """Number the voice of each interval of a whole clip (K,), from u (K, numbers) and votes (K,); changes count from
    the interval at which they began."""
    found, slot = np.ones(len(votes), np.int64), np.zeros(1, np.intp)
    if (voices := voices_of(net, 1, most)) is not None:
        for first in range(0, len(votes), BLOCK):
            part = slice(first, first + BLOCK)
            at = np.arange(len(votes))[None, part]
            for change in voices.hear(slot, at, u[None, part], votes[None, part]):
                found[change.since :] = change.number
    return found


def voices_of(net: Net, slots: int, most: int) -> Voices | None:
    """Return what distinguishes up to `most` voices on each of `slots` streams; None if the net cannot, or most is
    1."""
    if most < 2 or not net.architecture.voice:
        return None
    return Voices(slots, most, Metric.of(net.weights.arrays))
