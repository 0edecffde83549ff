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
KNOWN = 5
"""Blocks of a voice before a change from it can be told."""
LONGEST = 50.0
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
        self._metric, self.most = metric, most
        n = len(metric.between)
        self.place = np.zeros(slots, np.int64)
        """(slots,) place of the voice that is heard."""
        self.number = np.ones(slots, np.int64)
        """(slots,) its number."""
        self._sum = np.zeros((slots, n))
        self._votes = np.zeros(slots, np.int64)
        self._began, self._ended = np.zeros(slots, np.int64), np.zeros(slots, np.int64)
        # The newest blocks, newest last: means, where each began, and how many there are; zeros before them.
        self._new = np.zeros((slots, NEWEST, n))
        self._new_began = np.zeros((slots, NEWEST), np.int64)
        self._filled = np.zeros(slots, np.int64)
        # Of each voice, without the newest blocks: mean, blocks, number, and when it was heard last, in changes.
        self._mean = np.zeros((slots, most, n))
        self._blocks = np.zeros((slots, most))
        self._numbers = np.zeros((slots, most), np.int64)
        self._numbers[:, 0] = 1
        self._last = np.zeros((slots, most), np.int64)
        self._count = np.ones(slots, np.int64)
        self._changes = np.zeros(slots, np.int64)

    @property
    def _columns(self) -> tuple[NDArray[np.float64] | Ints, ...]:
        newest = self._sum, self._votes, self._began, self._ended, self._new, self._new_began, self._filled
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
        counts = votes & np.isfinite(v[..., 0])
        if not counts.any():
            return []
        # The vote of each interval within its block; those from BLOCK on are the next block's.
        nth = self._votes[slots, None] + np.cumsum(counts, 1)
        here, later = counts & (nth <= BLOCK), counts & (nth > BLOCK)
        self._take(slots, at, v, here)
        full = np.flatnonzero(nth[:, -1] >= BLOCK)
        changes = self._complete(slots[full]) if full.size else []
        self._take(slots, at, v, later)
        return changes

    def shift(self, slot: int, by: int) -> None:
        """Call intervals of this stream by so much more than before: the newest ones have moved."""
        self._began[slot] += by
        self._new_began[slot] += by

    def _take(self, slots: Slots, at: Ints, v: NDArray[np.float32], some: NDArray[np.bool_]) -> None:
        rows = np.flatnonzero(some.any(1))
        if not rows.size:
            return
        s, some = slots[rows], some[rows]
        begins = self._votes[s] == 0
        self._began[s] = np.where(begins, at[rows, some.argmax(1)], self._began[s])
        self._sum[s] += np.where(some[..., None], v[rows], 0).sum(1, dtype=np.float64)
        self._ended[s] = at[rows, some.shape[1] - 1 - some[:, ::-1].argmax(1)]
        self._votes[s] += some.sum(1)

    def _complete(self, s: Slots) -> list[Change]:
        """Complete a block of each of these streams."""
        oldest, full = self._new[s, 0], self._filled[s] == NEWEST
        self._know(s[full], oldest[full])
        self._new[s, :-1], self._new_began[s, :-1] = self._new[s, 1:], self._new_began[s, 1:]
        self._new[s, -1], self._new_began[s, -1] = self._sum[s] / BLOCK, self._began[s]
        self._filled[s] = np.minimum(self._filled[s] + 1, NEWEST)
        self._sum[s], self._votes[s] = 0, 0
        return self._compare(s)

    def _know(self, s: Slots, block: Floats) -> None:
        """Learn a block (B, numbers) that is no longer among the newest: it is of the voice that is heard."""
        place = self.place[s]
        n = np.minimum(self._blocks[s, place], LONGEST - 1)
        self._mean[s, place] = (self._mean[s, place] * n[:, None] + block) / (n + 1)[:, None]
        self._blocks[s, place] = n + 1

    def _compare(self, s: Slots) -> list[Change]:
        """Compare the newest blocks of these streams with what is known."""
        # Mostly the newest few are the present voice's: then no more is asked.
        better, _ = self._odds(s, LEAST, LEAST)
        s = s[better[:, 0] > 0]
        if not s.size:
            return []
        better, which = self._odds(s, 1, NEWEST)
        n, rows = better.argmax(1), np.arange(len(s))
        told = (better[rows, n] > self._metric.threshold) & (n + 1 >= LEAST)
        return [
            self._change(int(s[i]), int(which[i, n[i]]), int(n[i]) + 1) for i in np.flatnonzero(told).tolist()
        ]

    def _odds(self, s: Slots, least: int, most: int) -> tuple[Floats, Ints]:
        """Return the log-odds that the n newest blocks are of another voice, and the place of that, by n from least to
        most."""
        counts, rows, place = np.arange(least, most + 1), np.arange(len(s)), self.place[s]
        sums = np.cumsum(self._new[s, ::-1], 1)
        newest, older = sums[:, least - 1 : most], sums[:, -1:] - sums[:, least - 1 : most]
        before = self._filled[s, None] - counts
        # By n: all voices that are known, the present one by the blocks before the newest, too.
        blocks = np.repeat(self._blocks[s, None], len(counts), 1)
        means = np.repeat(self._mean[s, None], len(counts), 1)
        own = blocks[rows, :, place] + before
        total = means[rows, :, place] * blocks[rows, :, place, None] + older
        means[rows, :, place], blocks[rows, :, place] = (
            total / np.maximum(own, 1)[..., None],
            np.maximum(own, 0),
        )
        mean = newest / counts[:, None]
        odds = self._metric.likelihood(means, blocks, mean[:, :, None], counts[:, None].astype(np.float64))
        present = odds[rows, :, place].copy()
        # A voice that is none of those known; its place is found when it is needed.
        odds[rows, :, place] = 0.0
        odds[blocks == 0] = 0.0
        better = np.where((before >= 0) & (own >= KNOWN), odds.max(2) - present, -np.inf)
        return better, odds.argmax(2)

    def _change(self, slot: int, to: int, n: int) -> Change:
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
        return Change(slot, since, int(self._ended[slot]), before, to, int(self.number[slot]), fresh)


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
